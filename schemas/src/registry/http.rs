//! HTTP as far as a registry needs it: one address, small answers, limits on everything.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Bytes;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::percent_decode_str;
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use super::RegistryError;

/// How long a connection may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a whole request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an idle connection is kept. Shorter than servers keep theirs, so that none is used that is closing.
const IDLE_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest answer that is read.
pub(super) const MAX_ANSWER_BYTES: usize = 1024 * 1024;

const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";

/// A client of one registry.
pub(super) struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    base: String,
    authorization: Option<HeaderValue>,
}

/// An answer, whole.
pub(super) enum Answer {
    /// As it came.
    Whole(StatusCode, Bytes),
    /// It was longer than [`MAX_ANSWER_BYTES`].
    TooLong,
}

/// The body of an error.
#[derive(Deserialize)]
pub(super) struct Problem {
    pub(super) error_code: u32,
    #[serde(default)]
    pub(super) message: String,
}

impl Http {
    /// A client of the registry at this address, which may hold user and password.
    pub(super) fn new(address: &str) -> Result<Self, RegistryError> {
        // The address is not repeated in messages before user and password are out of it.
        let mut url = Url::parse(address).map_err(|error| RegistryError::Address(error.to_string()))?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(RegistryError::Address("it must begin with http:// or https://".to_owned()));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(RegistryError::Address("it must not have a `?` or `#`".to_owned()));
        }
        let authorization = authorization(&url)?;
        // They cannot fail: the address has a host.
        let _ = (url.set_username(""), url.set_password(None));
        let base = url.as_str().trim_end_matches('/').to_owned();
        let tls = tls(&url, &base)?;
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        Ok(Self { client, base, authorization })
    }

    /// The address as it may be shown.
    pub(super) fn url(&self) -> String {
        self.base.clone()
    }

    /// Sends a request and reads the whole answer.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Answer, RegistryError> {
        match tokio::time::timeout(REQUEST_TIMEOUT, self.exchange(method, path, body)).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(source)) => Err(RegistryError::Unreachable { url: self.url(), source }),
            Err(_) => Err(RegistryError::TimedOut { url: self.url(), seconds: REQUEST_TIMEOUT.as_secs() }),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(ACCEPT, format!("{MEDIA_TYPE}, application/json"));
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if body.is_some() {
            request = request.header(CONTENT_TYPE, MEDIA_TYPE);
        }
        let request = request.body(Full::from(body.unwrap_or_default()))?;
        let answer = self.client.request(request).await?;
        let status = answer.status();
        match Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await {
            Ok(body) => Ok(Answer::Whole(status, body.to_bytes())),
            Err(error) if error.is::<LengthLimitError>() => Ok(Answer::TooLong),
            Err(error) => Err(error),
        }
    }

    /// Asks for something that must be there.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<String>,
    ) -> Result<T, RegistryError> {
        let action = format!("{method} {path}");
        match self.send(method, path, body).await? {
            Answer::Whole(status, body) if status.is_success() => {
                serde_json::from_slice(&body).map_err(|_| self.not_a_registry(action))
            }
            Answer::Whole(status, body) => Err(self.refused(action, status, &body)),
            Answer::TooLong => Err(self.not_a_registry(action)),
        }
    }

    /// The error of an answer that no registry gives.
    pub(super) fn not_a_registry(&self, action: String) -> RegistryError {
        RegistryError::NotARegistry { url: self.url(), action }
    }

    /// The error of an answer that is one.
    pub(super) fn refused(&self, action: String, status: StatusCode, body: &[u8]) -> RegistryError {
        let reason = match serde_json::from_slice::<Problem>(body) {
            Ok(problem) => problem.message,
            Err(_) => "(no reason given)".to_owned(),
        };
        RegistryError::Refused { url: self.url(), action, status: status.as_u16(), reason }
    }
}

/// Basic authentication from the user and password of an address.
fn authorization(url: &Url) -> Result<Option<HeaderValue>, RegistryError> {
    if url.username().is_empty() && url.password().is_none() {
        return Ok(None);
    }
    let mut pair = percent_decode_str(url.username()).collect::<Vec<u8>>();
    pair.push(b':');
    pair.extend(percent_decode_str(url.password().unwrap_or_default()));
    let mut value = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(pair)))
        .map_err(|_| RegistryError::Address("user and password cannot be sent".to_owned()))?;
    // Libraries that print requests leave it out then.
    value.set_sensitive(true);
    Ok(Some(value))
}

/// Trusts what the machine trusts, or what SSL_CERT_FILE and SSL_CERT_DIR name. Plain HTTP needs no certificates, and
/// a container may have none.
fn tls(url: &Url, shown: &str) -> Result<ClientConfig, RegistryError> {
    let certificates = |reason: String| RegistryError::Certificates { url: shown.to_owned(), reason };
    let mut roots = RootCertStore::empty();
    if url.scheme() == "https" {
        let found = rustls_native_certs::load_native_certs();
        let (usable, _) = roots.add_parsable_certificates(found.certs);
        if usable == 0 {
            let reason = found.errors.first().map_or("there are none".to_owned(), ToString::to_string);
            return Err(certificates(reason));
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| certificates(error.to_string()))?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(address: &str) -> String {
        match Http::new(address) {
            Ok(http) => panic!("`{address}` was taken as {}", http.base),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn an_address_that_is_none_is_told_by_the_name_of_the_setting_and_without_its_password() {
        for address in
            ["", "registry:8081", "ftp://user:sesame@host", "http://user:sesame@", "https://u:sesame@h/?a"]
        {
            let text = refusal(address);
            assert!(text.starts_with("--registry ") && !text.contains("sesame"), "{text}");
        }
    }

    #[test]
    fn user_and_password_become_a_header_and_are_not_shown() {
        let http = Http::new("http://ada:s%C3%A9same%3A@host:8081/apis/ccompat/v7/").unwrap();
        assert_eq!(http.url(), "http://host:8081/apis/ccompat/v7");
        let header = http.authorization.unwrap();
        assert_eq!(header, format!("Basic {}", BASE64_STANDARD.encode("ada:sésame:")));
        assert!(!format!("{header:?}").contains("Basic"));
        assert!(Http::new("http://host").unwrap().authorization.is_none());
    }
}
