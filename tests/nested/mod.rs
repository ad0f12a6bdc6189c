//! Rows of other tables in documents: pg2etcd.toml(5), "TABLES".

mod refused;
