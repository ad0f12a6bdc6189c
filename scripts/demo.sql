-- The shop of scripts/demo: small enough to read, with a key of two columns, an enum, jsonb and timestamps.
create type order_state as enum ('new', 'paid', 'shipped');
create table customers (id int primary key, name text not null, profile jsonb, since timestamptz not null);
create table orders (id bigint primary key, customer int not null references customers, state order_state not null,
    total numeric(10,2), ordered_at timestamp not null);
-- A customer's document has its orders, so PostgreSQL has to tell whose an order was.
alter table orders replica identity full;
create table order_items (order_id bigint references orders, sku text, quantity int not null, price numeric(10,2) not null,
    primary key (order_id, sku));
create table coupons (code text primary key, percent smallint not null, until date);

insert into customers select n, (array['Ada', 'Bjørn', 'Chloë', '大輔'])[1 + n % 4] || ' ' || n,
    jsonb_build_object('newsletter', n % 3 = 0, 'tags', jsonb_build_array('tier ' || n % 5, n)),
    '2024-01-01 08:00+01'::timestamptz + n * interval '7 hours 0.25 seconds' from generate_series(1, 200) n;
insert into orders select n, 1 + n % 200, (enum_range(null::order_state))[1 + n % 3], n * 1.10,
    '2025-01-01'::timestamp + n * interval '11 minutes' from generate_series(1, 500) n;
insert into order_items select o, (array['tea/green', 'tea/black', 'cup', '100% wool'])[i], i, i * 2.50
    from generate_series(1, 500) o, generate_series(1, 1 + o % 4) i;
insert into coupons values ('WELCOME', 10, null), ('SPRING', 15, '2026-05-31'), ('TEA', 20, '2026-12-31');
