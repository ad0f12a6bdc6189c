-- Settings that confd writes into the files of an application: one a key.
CREATE TABLE app_setting (path text PRIMARY KEY CHECK (path <> ''), value text);
INSERT INTO app_setting VALUES ('database/url', 'db.example.org:5432'), ('database/user', 'rob'), ('upstream/app1', '192.0.2.1:80');
