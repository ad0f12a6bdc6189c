-- Routes of Apache APISIX.
CREATE TABLE apisix_route (
    id      text PRIMARY KEY,
    name    text,
    uri     text NOT NULL,
    host    text,
    methods text[],
    plugins jsonb NOT NULL DEFAULT '{}',
    node    text NOT NULL,
    weight  int NOT NULL DEFAULT 1
);
INSERT INTO apisix_route (id, uri, node) VALUES ('1', '/*', '192.0.2.1');
INSERT INTO apisix_route (id, name, uri, host, methods, plugins, node, weight) VALUES
    ('shop', 'The shop', '/shop/*', 'example.org', '{GET,POST}', '{"limit-count": {"count": 2, "time_window": 60}}', '192.0.2.2', 5);
