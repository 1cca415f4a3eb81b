//! Encrypted connections. A proxy encrypts, so that any server will do.

use std::path::Path;
use std::sync::Arc;

use sea_orm::sqlx::postgres::PgConnectOptions;
use stent_core::backend::{Backend, ErrorKind, Migrate};
use stent_postgres::{PostgresOptions, PostgresStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::certificates::Certificates;
use crate::schema::{Schema, url};

/// The first message of a client that asks for TLS, and the answers:
/// <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL>.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
const GRANTED: &[u8] = b"S";
const DENIED: &[u8] = b"N";

/// Starts a proxy that takes only encrypted connections to the server. Returns its port.
async fn encrypting(made: &Certificates) -> u16 {
    let server: PgConnectOptions = url().expect("a server").parse().expect("a URL");
    let (host, port) = (server.get_host().to_owned(), server.get_port());
    let certificate = CertificateDer::from_pem_file(&made.certificate).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(&made.key).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring has them")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("they fit");
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let own = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let (acceptor, host) = (acceptor.clone(), host.clone());
            tokio::spawn(async move {
                let mut asked = [0; 8];
                client.read_exact(&mut asked).await?;
                if asked != SSL_REQUEST {
                    return Ok(());
                }
                client.write_all(GRANTED).await?;
                let mut client = acceptor.accept(client).await?;
                let mut server = TcpStream::connect((host, port)).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await.map(drop)
            });
        }
    });
    own
}

/// The options of a store in the schema, behind a port of this host.
fn through(schema: &Schema, port: u16, parameters: &str) -> PostgresOptions {
    let server: PgConnectOptions = url().expect("a server").parse().expect("a URL");
    let (there, here) = (format!("{}:{}", server.get_host(), server.get_port()), format!("127.0.0.1:{port}"));
    let url = schema.url_with(&format!("schema={}&acquire_timeout=5s&{parameters}", schema.name()));
    assert!(url.contains(&there), "the URL of the server names {there}");
    url.replacen(&there, &here, 1).parse().expect("options")
}

#[tokio::test]
async fn a_server_that_is_verified_is_worked_with() {
    let folder = tempfile::tempdir().expect("a folder");
    let made = Certificates::new(folder.path());
    let port = encrypting(&made).await;
    let schema = Schema::new();
    let root = made.ca.display();

    for parameters in ["sslmode=require".to_owned(), format!("sslmode=verify-full&sslrootcert={root}")] {
        let store = PostgresStore::open(through(&schema, port, &parameters)).await.expect("opens");
        store.migrate().await.expect("migrates");
        store.clock().await.expect("reads");
    }
}

async fn refused(options: PostgresOptions) -> String {
    let store = PostgresStore::open(options).await.expect("opens");
    let error = store.clock().await.expect_err("it is refused");
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    error.to_string()
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = encrypting(&Certificates::new(folder.path())).await;

    let said = refused(through(&Schema::new(), port, "sslmode=verify-full")).await;

    assert!(said.contains("sslrootcert=/path.pem"), "{said}");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_if_tls_is_required() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let mut asked = [0; 8];
            client.read_exact(&mut asked).await.expect("it asks");
            client.write_all(DENIED).await.expect("it hears");
        }
    });

    let said = refused(through(&Schema::new(), port, "sslmode=require")).await;

    assert!(said.contains("server does not support TLS"), "{said}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    assert!(!Path::new("/no/such.pem").exists());
    for name in ["sslrootcert", "sslcert", "sslkey"] {
        let error = format!("postgres://127.0.0.1/none?{name}=/no/such.pem").parse::<PostgresOptions>();
        let said = error.expect_err("it is not there").to_string();
        assert!(said.contains(&format!("cannot read {name}=/no/such.pem")), "{said}");
    }
}
