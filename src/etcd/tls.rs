//! TLS for an HTTP connection.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use ureq::unversioned::transport::{
    Buffers, ConnectionDetails, LazyBuffers, NextTimeout, Transport, TransportAdapter,
};

use crate::tls::{Names, Tls};

/// What the settings are called that a refused session is about.
pub(super) const NAMES: Names = Names {
    trust: "etcd.tls.trusted_ca_path",
    identity: "etcd.tls.certificate_path and etcd.tls.key_path",
};

/// A connection with TLS.
///
/// ureq's own would take what is wrong with a key or a certificate for a defect of the program.
pub(super) struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

/// Why a connection cannot have TLS; the text names the file or the host.
#[derive(Debug)]
pub(super) struct Unusable(pub(super) String);

impl TlsTransport {
    /// Begins a session with `host` over a connection. The files are read anew, so that renewed ones are used.
    pub(super) fn begin(
        tls: &Tls,
        transport: Box<dyn Transport>,
        details: &ConnectionDetails<'_>,
        host: &str,
        timeout: NextTimeout,
    ) -> Result<Self, ureq::Error> {
        let unusable = |problem| ureq::Error::Other(Box::new(Unusable(problem)));
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| unusable(format!("{host} is no name that TLS can be used with")))?;
        let config = Arc::new(tls.client_config().map_err(unusable)?);
        let mut session =
            ClientConnection::new(config, name).map_err(|error| unusable(error.to_string()))?;
        let mut socket = TransportAdapter::new(transport, Arc::clone(&details.current_time));
        socket.set_timeout(timeout);
        session.complete_io(&mut socket).map_err(|error| match error.kind() {
            kind @ (ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => io::Error::new(
                kind,
                format!("{error} in the TLS handshake: does the server speak TLS at this port?"),
            ),
            _ => error,
        })?;
        let buffers = LazyBuffers::new(
            details.config.input_buffer_size(),
            details.config.output_buffer_size(),
        );
        Ok(Self { buffers, stream: StreamOwned::new(session, socket) })
    }
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        Ok(self.stream.write_all(&self.buffers.output()[..amount])?)
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let count = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(count);
        Ok(count > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTransport").finish_non_exhaustive()
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unusable {}
