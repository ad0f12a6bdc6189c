-- The tables that scripts/bench copies, and what writes to them. A row of each is about 200 bytes of JSON.
set client_min_messages = warning;
drop schema public cascade;
create schema public;

create table items (
    id bigint primary key,
    name text not null,
    price numeric(10, 2) not null,
    in_stock boolean not null,
    made timestamptz not null,
    notes text not null
);
create table hot (id bigint primary key, version bigint not null, notes text not null);
create table wide (id bigint primary key, version bigint not null, notes text not null);
create table parent (id bigint primary key, notes text not null);
create table child (
    parent_id bigint not null references parent,
    id bigint,
    notes text not null,
    primary key (parent_id, id)
);
create table live (id bigserial primary key, notes text not null);
-- Written last: whoever sees it has seen all before it.
create table marker (id bigint primary key);

drop publication if exists pg2etcd;
create publication pg2etcd for all tables;

create function notes(id bigint) returns text language sql immutable
    return md5(id::text) || ' ' || md5((id + 1)::text) || ' ' || md5((id + 2)::text);

create function make_items(first bigint, last bigint) returns setof items language sql stable
begin atomic
    select id, 'item ' || id, (id % 100000) / 100.0, id % 3 = 0,
        '2026-01-02 03:04:05+00'::timestamptz + id * interval '1 second', notes(id)
    from generate_series(first, last) id;
end;

-- Version `version` of one of ten rows, which take turns.
create function make_hot(version bigint) returns setof hot language sql stable
begin atomic
    select version % 10, version, notes(version) || notes(-version);
end;

insert into hot select hot.* from generate_series(0, 9) version, make_hot(version) hot;

-- Rows up to `last`, so many a transaction.
create procedure write_items(last bigint, each bigint) language plpgsql as $$
begin
    for id in 1..last by each loop
        insert into items select * from make_items(id, least(last, id + each - 1));
        commit;
    end loop;
end
$$;

-- Versions up to `last`, one a transaction.
create procedure write_hot(last bigint) language plpgsql as $$
begin
    for turn in 10..last + 9 loop
        update hot set (version, notes) = (new.version, new.notes) from make_hot(turn) new where hot.id = new.id;
        commit;
    end loop;
end
$$;

-- A row for each of so many parents, so many a transaction.
create procedure write_children(last bigint, each bigint) language plpgsql as $$
begin
    for id in 1..last by each loop
        insert into child select parent, 1, notes(parent) from generate_series(id, least(last, id + each - 1)) parent;
        commit;
    end loop;
end
$$;

-- So many updates of the hundred rows of one parent, one a transaction.
create procedure write_crowd(updates bigint) language plpgsql as $$
begin
    for turn in 1..updates loop
        update child set notes = notes(turn) where parent_id = 1 and id = turn % 100 + 1;
        commit;
    end loop;
end
$$;

-- As many of a row that is as large as all of them.
create procedure write_wide(updates bigint) language plpgsql as $$
declare
    body text := (select string_agg(notes(id), '') from generate_series(1, 120) id);
begin
    insert into wide values (1, 0, body);
    commit;
    for turn in 1..updates loop
        update wide set (version, notes) = (turn, left(body, 6000) || (select string_agg(notes(turn + id), '') from generate_series(1, 60) id))
        where id = 1;
        commit;
    end loop;
end
$$;

-- Rows one by one, with a pause after each, in seconds.
create procedure write_live(count bigint, pause float8) language plpgsql as $$
begin
    for id in 1..count loop
        insert into live (notes) values (notes(id));
        commit;
        perform pg_sleep(pause);
    end loop;
end
$$;

-- Returns when the server's process `sender` has sent all up to `lsn`.
create procedure await_sent(sender int, lsn pg_lsn) language plpgsql as $$
begin
    while (select sent_lsn < lsn from pg_stat_replication where pid = sender) loop
        perform pg_sleep(0.005);
    end loop;
end
$$;
