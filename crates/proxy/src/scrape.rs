//! `/metrics`: those of a member, as etcd's proxy has it; its own are elsewhere.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use api::{plain_answer, plain_error};
use bytes::Bytes;
use http::{Response, StatusCode};
use net::{ClientTls, Stream, Url};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(5);
const BYTES: u64 = 32 << 20;

/// Asks a member for its metrics.
pub(crate) async fn answer(endpoint: &str, tls: &Arc<ClientTls>, is_tls: bool) -> Response<Bytes> {
    let scheme = if is_tls { "https" } else { "http" };
    let text = match endpoint.contains("://") {
        true => endpoint.to_owned(),
        false => format!("{scheme}://{endpoint}"),
    };
    let asked = async {
        let url = Url::parse(&text).map_err(io::Error::other)?;
        ask(&url, tls).await
    };
    match timeout(PATIENCE, asked).await {
        Ok(Ok(body)) => plain_answer(StatusCode::OK, "text/plain; version=0.0.4", body),
        Ok(Err(_)) | Err(_) => {
            plain_error(StatusCode::INTERNAL_SERVER_ERROR, "Internal server error\n")
        }
    }
}

/// By HTTP/1.0, whose answers end with the connection and come in one piece.
async fn ask(url: &Url, tls: &Arc<ClientTls>) -> io::Result<Vec<u8>> {
    let mut stream = match url.scheme().is_secure() {
        true => tls.connect(url).await?,
        false => Stream::connect(url).await?,
    };
    let host = url.address();
    let request = format!("GET /metrics HTTP/1.0\r\nHost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    stream.take(BYTES).read_to_end(&mut answer).await?;
    let head = answer.windows(4).position(|at| at == b"\r\n\r\n");
    let head = head.ok_or(io::ErrorKind::InvalidData)?;
    Ok(answer.split_off(head + 4))
}
