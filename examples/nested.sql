-- Customers, their orders, and the mailing lists that they are on. An order may get another customer, so
-- PostgreSQL has to tell both: the identity of its table is FULL.
CREATE TABLE customer (id int PRIMARY KEY, name text NOT NULL);
CREATE TABLE orders (
    id          bigint PRIMARY KEY,
    customer_id int REFERENCES customer ON DELETE CASCADE,
    ordered_on  date NOT NULL,
    total       numeric(10,2) NOT NULL
);
ALTER TABLE orders REPLICA IDENTITY FULL;
CREATE TABLE mailing_list (name text PRIMARY KEY, topic text);
CREATE TABLE subscription (
    customer_id int  REFERENCES customer ON DELETE CASCADE,
    list        text REFERENCES mailing_list ON DELETE CASCADE ON UPDATE CASCADE,
    since       date NOT NULL,
    PRIMARY KEY (customer_id, list)
);
INSERT INTO customer VALUES (1, 'Ada'), (2, 'Grace');
INSERT INTO orders VALUES (10, 1, '2026-02-01', 12.50), (11, 1, '2026-01-15', 3.00);
INSERT INTO mailing_list VALUES ('news', 'What is new'), ('tea', NULL);
INSERT INTO subscription VALUES (1, 'tea', '2025-05-01'), (1, 'news', '2025-06-01'), (2, 'news', '2026-01-01');
