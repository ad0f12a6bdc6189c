-- scripts/demo feeds this with the customers' keys and values in etcd on standard input: each has to be what one query gives.
set timezone = 'UTC';
set client_min_messages = warning;
create temp table found (key text primary key, value jsonb);
\copy pg_temp.found from pstdin
create temp view wanted as
    select '/shop-customers/' || id as key, to_jsonb(c) || jsonb_build_object('orders',
            (select coalesce(jsonb_agg(o.id order by o.id), '[]') from orders o where o.customer = c.id)) as value
        from customers c;
create temp view compared as
    select w.value as wanted, f.value as found, w.value is distinct from f.value as differs
        from pg_temp.wanted w full join pg_temp.found f using (key);

select count(wanted) as "customers in PostgreSQL", count(found) as "documents in etcd",
        sum(jsonb_array_length(found->'orders')) as "orders in them", count(*) filter (where differs) as "differences"
    from pg_temp.compared;

do $$ begin
    if exists (select from pg_temp.compared where differs) or not exists (select from pg_temp.wanted) then
        raise 'PostgreSQL and etcd differ';
    end if;
end $$;
