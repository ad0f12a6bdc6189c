-- The dynamic configuration of Patroni's clusters, which `patronictl edit-config` shows.
CREATE TABLE patroni_config (scope text PRIMARY KEY, config jsonb NOT NULL);
INSERT INTO patroni_config VALUES
    ('batman', '{"ttl": 30, "loop_wait": 10, "postgresql": {"parameters": {"work_mem": "8MB"}}}');
