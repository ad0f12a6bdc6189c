-- Routers and servers that Traefik's etcd provider reads.
CREATE TABLE traefik_router (
    name        text PRIMARY KEY,
    rule        text NOT NULL,
    service     text NOT NULL,
    priority    int
);
CREATE TABLE traefik_server (
    service text,
    place   int,
    url     text NOT NULL,
    PRIMARY KEY (service, place)
);
INSERT INTO traefik_router VALUES
    ('shop', 'Host(`shop.example.org`)', 'shop', 10), ('all', 'PathPrefix(`/`)', 'shop', NULL);
INSERT INTO traefik_server VALUES ('shop', 0, 'http://192.0.2.1:8080'), ('shop', 1, 'http://192.0.2.2:8080');
