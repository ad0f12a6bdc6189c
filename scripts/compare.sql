-- scripts/compare feeds this with :path, :tables, and etcd's keys and values on standard input.

-- The settings that the values in etcd are printed under.
set timezone = 'UTC';
set datestyle = 'ISO';
set intervalstyle = 'postgres';
set bytea_output = 'hex';
set extra_float_digits = 3;
set lc_monetary = 'C';
set search_path = pg_catalog;
set client_min_messages = warning;

create temp table found (key text primary key, value text);
\copy pg_temp.found from pstdin

-- In a name or a key, what separates its parts is percent-encoded.
create function pg_temp.part(part text) returns text language sql as
    $$ select replace(replace(part, '%', '%25'), '/', '%2F') $$;
create function pg_temp.name(name text) returns text language sql as
    $$ select replace(pg_temp.part(name), '.', '%2E') $$;

-- One INSERT a table, made and run: the key as /PATH/TABLE/KEY, with the primary key's columns in key order.
create temp table wanted (key text primary key, value text);
select format('insert into pg_temp.wanted select %L || concat_ws(''/'', %s), row_to_json(t)::text from %s t',
        '/' || :'path' || '/' || case nspname when 'public' then '' else pg_temp.name(nspname) || '.' end
            || pg_temp.name(relname) || '/',
        string_agg(format('pg_temp.part(format(''%%s'', t.%I))', attname), ', ' order by place),
        indrelid::regclass)
    from pg_index join pg_class c on c.oid = indrelid join pg_namespace n on n.oid = relnamespace,
        unnest(indkey) with ordinality as columns(number, place), pg_attribute
    where indisprimary and attrelid = indrelid and attnum = number and indrelid = any (:'tables'::regclass[])
    group by indrelid, nspname, relname \gexec

-- As jsonb white space does not matter, and jsonb keeps each digit of a number: equal texts are equal digit by digit.
create temp view compared as
    select key, w.value as wanted, f.value as found, w.value::jsonb::text is distinct from f.value::jsonb::text as differs
    from pg_temp.wanted w full join pg_temp.found f using (key);

select split_part(substr(key, length(:'path') + 3), '/', 1) as "table", count(wanted) as "rows in PostgreSQL",
        count(found) as "keys in etcd", count(*) filter (where differs) as "differences"
    from pg_temp.compared group by 1 order by 1;

select exists (select from pg_temp.compared where differs) as differ, not exists (select from pg_temp.wanted) as empty \gset
\if :differ
select key, wanted, found from pg_temp.compared where differs order by key limit 10;
do $$ begin raise 'PostgreSQL and etcd differ'; end $$;
\elif :empty
do $$ begin raise 'the tables have no row, so this proves nothing'; end $$;
\else
\echo The same, row by row and digit by digit.
\endif
