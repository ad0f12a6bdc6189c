-- The records of a zone that CoreDNS serves with its etcd plugin.
CREATE TABLE dns_record (
    name     text NOT NULL CHECK (name <> '' AND name !~ '(^\.|\.\.|\.$)'),
    id       int  NOT NULL,
    host     text,
    text     text,
    port     int,
    priority int,
    weight   int,
    ttl      int NOT NULL DEFAULT 300,
    PRIMARY KEY (name, id)
);
INSERT INTO dns_record (name, id, host) VALUES
    ('www.example.org', 1, '192.0.2.1'), ('www.example.org', 2, '192.0.2.2');
INSERT INTO dns_record (name, id, host, port, priority, ttl) VALUES ('_sip._tcp.example.org', 1, 'sip.example.org', 5060, 10, 60);
INSERT INTO dns_record (name, id, text) VALUES ('example.org', 1, 'v=spf1 -all');
