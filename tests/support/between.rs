//! A man in the middle.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use pg2etcd::tls::{NameCheck, Tls, Trust};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Issued;

/// Someone between a client and the server, with a certificate of his own, who reads all and passes it on.
pub(crate) struct Between {
    pub(crate) port: u16,
}

impl Between {
    pub(crate) fn before(target: u16, issued: &Issued) -> Self {
        let chain = vec![CertificateDer::from_pem_file(&issued.certificate).unwrap()];
        let key = PrivateKeyDer::from_pem_file(&issued.key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let config = Arc::clone(&config);
                // It ends with the connection.
                thread::spawn(move || pass_on(client, target, config));
            }
        });
        Self { port }
    }
}

/// Passes a question on, then its answer, and so on.
fn pass_on(
    mut client: TcpStream,
    target: u16,
    config: Arc<rustls::ServerConfig>,
) -> std::io::Result<()> {
    const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    let mut answer = [0];
    let mut request = [0; 8];
    client.read_exact(&mut request)?;
    client.write_all(b"S")?;
    let mut client =
        rustls::StreamOwned::new(rustls::ServerConnection::new(config).unwrap(), client);
    let mut server = TcpStream::connect(("127.0.0.1", target))?;
    server.write_all(&SSL_REQUEST)?;
    server.read_exact(&mut answer)?;
    let tls = Tls { trust: Trust::Anyone, name: NameCheck::Off, identity: None };
    let name = "localhost".try_into().unwrap();
    let session =
        rustls::ClientConnection::new(Arc::new(tls.client_config().unwrap()), name).unwrap();
    let mut server = rustls::StreamOwned::new(session, server);
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = client.read(&mut buffer)?;
        server.write_all(&buffer[..count])?;
        let count = server.read(&mut buffer)?;
        client.write_all(&buffer[..count])?;
        if count == 0 {
            return Ok(());
        }
    }
}
