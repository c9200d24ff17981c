//! What librdkafka says besides its answers: it retries by itself and tells its troubles only through callbacks. The
//! last of them gives an error its reason, and decides whether the log counts as out of reach.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use tokio::sync::Notify;

use super::settings::KafkaSettings;
use crate::BusError;

/// How long what a callback said explains an error.
const FRESH: Duration = Duration::from_secs(30);

/// Locks, also after another thread panicked: nothing that is kept here can be half done.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Default)]
struct State {
    /// The last callback: when, whether the other side refuses, in words.
    heard: Option<(Instant, bool, String)>,
    /// Why a connection was lost last: librdkafka logs what it does not always call back for.
    lost: Option<(Instant, String)>,
    trouble: Option<String>,
    /// Whether the log has answered this process before: address, login and certificates were right then.
    reached: bool,
}

/// How the log is doing, as far as all clients of one [`KafkaBus`](super::KafkaBus) know.
pub(super) struct Health {
    address: String,
    encrypted: bool,
    state: Mutex<State>,
    /// Wakes the probe: something was heard that may be trouble.
    pub(super) alarm: Notify,
}

impl Health {
    pub(super) fn new(settings: &KafkaSettings) -> Self {
        Self {
            address: settings.address(),
            encrypted: settings.is_encrypted(),
            state: Mutex::default(),
            alarm: Notify::new(),
        }
    }

    /// Why the log cannot be reached; `None` when it can.
    pub(super) fn trouble(&self) -> Option<String> {
        lock(&self.state).trouble.clone()
    }

    /// The log answered.
    pub(super) fn answered(&self) {
        let mut state = lock(&self.state);
        state.reached = true;
        if state.trouble.take().is_some() {
            state.heard = None;
            tracing::info!(address = self.address, "the log can be reached again");
        }
    }

    /// The log did not answer, or refused.
    pub(super) fn failed(&self, error: &BusError) {
        if matches!(error, BusError::Unavailable { .. } | BusError::Refused { .. }) {
            let mut state = lock(&self.state);
            if state.trouble.is_none() {
                tracing::warn!(%error, "the log cannot be reached");
            }
            state.trouble = Some(error.to_string());
        }
    }

    fn heard(&self, code: Code, reason: &str) {
        let refused = is_refusal(code) || is_handshake(code);
        {
            let mut state = lock(&self.state);
            let better = state.heard.as_ref().is_some_and(|(at, _, _)| at.elapsed() < FRESH);
            // «All brokers are down» says less than what took each of them down.
            let lost = state.lost.as_ref().filter(|(at, _)| at.elapsed() < FRESH).map(|(_, why)| why.clone());
            let reason = match (code, lost) {
                (Code::AllBrokersDown, _) if better => None,
                (Code::AllBrokersDown, Some(why)) => Some(why),
                (Code::AllBrokersDown, None) => Some(format!("{reason}{}", self.tls_hint(&state))),
                _ => Some(self.hinted(&state, reason)),
            };
            if let Some(reason) = reason {
                state.heard = Some((Instant::now(), refused, reason));
            }
        }
        self.alarm.notify_one();
    }

    fn lost(&self, message: &str) {
        // It begins with the name of librdkafka's thread.
        let message = message.split_once("]: ").map_or(message, |(_, rest)| rest);
        let mut state = lock(&self.state);
        let hinted = self.hinted(&state, message);
        state.lost = Some((Instant::now(), hinted));
    }

    /// What librdkafka says, and what it may mean. A listener that wants TLS hangs up on the first question of a connection,
    /// and one without TLS on the handshake, each in one way or another.
    fn hinted(&self, state: &State, message: &str) -> String {
        const PLAIN: &str = "connecting to a PLAINTEXT broker listener?";
        let hint = if message.contains("APIVERSION_QUERY") {
            self.tls_hint(state)
        } else if self.encrypted
            && !state.reached
            && message.contains("SSL_HANDSHAKE")
            && !message.contains(PLAIN)
        {
            "; connecting to a PLAINTEXT broker listener?"
        } else {
            ""
        };
        format!("{message}{hint}")
    }

    fn tls_hint(&self, state: &State) -> &'static str {
        if self.encrypted || state.reached { "" } else { "; does it want `tls=true`?" }
    }

    /// What an error of librdkafka means, while trying to `operation`; `topic` is what it was about.
    pub(super) fn explain(
        &self,
        operation: &'static str,
        topic: Option<&str>,
        error: &KafkaError,
    ) -> BusError {
        match code_of(error) {
            Some(code) => self.explain_code(operation, topic, code),
            None => BusError::Broker { operation, reason: error.to_string() },
        }
    }

    /// As [`explain`](Self::explain), for a bare code.
    pub(super) fn explain_code(&self, operation: &'static str, topic: Option<&str>, code: Code) -> BusError {
        let address = self.address.clone();
        let (fresh, reached) = {
            let state = lock(&self.state);
            (state.heard.clone().filter(|(at, ..)| at.elapsed() < FRESH), state.reached)
        };
        if is_refusal(code) {
            let reason = match fresh {
                Some((_, true, reason)) => reason,
                _ => topic.map_or_else(|| code.to_string(), |topic| format!("{code} (`{topic}`)")),
            };
            return BusError::Refused { address, reason };
        }
        if let (true, Some(topic)) = (is_missing(code), topic) {
            return BusError::Recreated(topic.to_owned());
        }
        if !is_outage(code) && !is_handshake(code) {
            return BusError::Broker { operation, reason: code.to_string() };
        }
        let refused = is_handshake(code) || matches!(fresh, Some((_, true, _)));
        let reason = match fresh {
            Some((_, heard_refused, reason)) if heard_refused == refused => reason,
            _ => code.to_string(),
        };
        match (refused, reached) {
            (true, false) => BusError::Refused { address, reason },
            // librdkafka calls every handshake that fails a refusal, also one whose connection was cut. What was let in
            // before will be let in again, or somebody mends the login: that is waited for.
            (true, true) => BusError::Unavailable {
                address,
                reason: format!("it refuses: {reason}; if that lasts, see the setting `--bus`"),
            },
            (false, _) => BusError::Unavailable { address, reason },
        }
    }

    /// Nobody answered in time.
    pub(super) fn timed_out(&self, operation: &'static str) -> BusError {
        self.explain_code(operation, None, Code::OperationTimedOut)
    }
}

/// The code in an error of librdkafka.
pub(super) fn code_of(error: &KafkaError) -> Option<Code> {
    match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    }
}

/// Whether a connection was not let in. librdkafka also says so when it is cut at that moment.
fn is_handshake(code: Code) -> bool {
    matches!(
        code,
        Code::Authentication
            | Code::SSL
            | Code::SaslAuthenticationFailed
            | Code::UnsupportedSASLMechanism
            | Code::IllegalSASLState
    )
}

/// Whether a server answered that this user may not do this.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::SecurityDisabled
            | Code::TopicAuthorizationFailed
            | Code::GroupAuthorizationFailed
            | Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
    )
}

/// Whether the topic or partition is not there.
pub(super) fn is_missing(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition | Code::UnknownTopicId
    )
}

fn is_outage(code: Code) -> bool {
    matches!(
        code,
        Code::OperationTimedOut
            | Code::MessageTimedOut
            | Code::TimedOutQueue
            | Code::RequestTimedOut
            | Code::AllBrokersDown
            | Code::BrokerTransportFailure
            | Code::Resolve
            // No socket to be had, for instance.
            | Code::Fail
            | Code::CriticalSystemResource
            | Code::NetworkException
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::BrokerNotAvailable
            | Code::ReplicaNotAvailable
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend
            | Code::ISRInsufficient
            | Code::KafkaStorageError
            | Code::CoordinatorNotAvailable
            | Code::CoordinatorLoadInProgress
            | Code::NotCoordinator
            | Code::WaitingForCoordinator
            | Code::NotController
            | Code::PurgeQueue
            | Code::PurgeInflight
            | Code::QueueFull
            | Code::OffsetNotAvailable
            | Code::UnknownLeaderEpoch
            | Code::FencedLeaderEpoch
    )
}

/// The callbacks of a client that has no others.
pub(super) struct Events(pub(super) Arc<Health>);

impl ClientContext for Events {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" {
            self.0.lost(message);
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(facility, "librdkafka: {message}");
            }
            // Lost connections are told once, by the health, not at every attempt.
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => {
                tracing::debug!(facility, "librdkafka: {message}");
            }
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::trace!(facility, "librdkafka: {message}");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, "librdkafka: {reason}");
        match code_of(&error) {
            Some(code) if is_refusal(code) || is_handshake(code) || is_outage(code) => {
                self.0.heard(code, reason)
            }
            _ => {}
        }
    }
}

impl rdkafka::consumer::ConsumerContext for Events {}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        Health::new(&"kafka://h:1".parse().unwrap())
    }

    #[test]
    fn the_last_callback_gives_the_reason() {
        let health = health();
        let error = health.timed_out("read");
        assert!(
            error.is_transient()
                && error.to_string().starts_with("the log at `kafka://h:1` cannot be reached")
        );
        health.heard(Code::BrokerTransportFailure, "h:1: Connection refused");
        health.heard(Code::AllBrokersDown, "1/1 brokers are down");
        assert_eq!(
            health.timed_out("read").to_string(),
            "the log at `kafka://h:1` cannot be reached: h:1: Connection refused"
        );
        health.lost("[thrd:h:1/bootstrap]: h:1/bootstrap: Disconnected");
        health.heard(Code::AllBrokersDown, "1/1 brokers are down");
        assert!(health.timed_out("read").to_string().ends_with("Connection refused"));
        health.heard(Code::Authentication, "h:1: SASL authentication failed");
        let error = health.timed_out("read");
        assert!(!error.is_transient());
        assert_eq!(
            error.to_string(),
            "the log at `kafka://h:1` refuses: h:1: SASL authentication failed; see the setting `--bus`"
        );
    }

    #[test]
    fn a_handshake_that_is_hung_up_on_is_told_with_what_it_may_mean() {
        let health = Health::new(&"kafka://h:1?tls=true".parse().unwrap());
        health.lost("[thrd:x]: ssl://h:1: Disconnected: closed by peer (after 0ms in state SSL_HANDSHAKE)");
        health.heard(Code::AllBrokersDown, "1/1 brokers are down");
        let error = health.explain_code("read", None, Code::AllBrokersDown).to_string();
        assert!(error.ends_with("SSL_HANDSHAKE); connecting to a PLAINTEXT broker listener?"), "{error}");
    }

    #[test]
    fn a_log_that_answered_before_is_waited_for_whatever_its_handshakes_say() {
        let health = health();
        health.answered();
        health.heard(Code::Authentication, "h:1: SASL handshake failed: Local: Broker transport failure");
        for code in [Code::AllBrokersDown, Code::OperationTimedOut, Code::Authentication, Code::SSL] {
            let error = health.explain_code("be read", None, code);
            let text = error.to_string();
            assert!(error.is_transient(), "{code}: {text}");
            assert!(
                text.contains("it refuses: h:1: SASL handshake failed") && text.contains("`--bus`"),
                "{text}"
            );
        }
        // What a server says about rights is no outage.
        let error = health.explain_code("be read", Some("t"), Code::TopicAuthorizationFailed);
        assert!(!error.is_transient(), "{error}");
    }

    #[test]
    fn servers_that_are_down_without_a_word_may_want_tls() {
        let plain = health();
        plain.heard(Code::AllBrokersDown, "1/1 brokers are down");
        assert!(plain.timed_out("read").to_string().ends_with("brokers are down; does it want `tls=true`?"));
        let encrypted = Health::new(&"kafka://h:1?tls=true".parse().unwrap());
        encrypted.heard(Code::AllBrokersDown, "1/1 brokers are down");
        assert!(encrypted.timed_out("read").to_string().ends_with("brokers are down"));
    }

    #[test]
    fn a_lost_connection_explains_that_all_are_down() {
        let health = health();
        health.lost(
            "[thrd:h:1/bootstrap]: h:1/bootstrap: connection closed by peer (in state APIVERSION_QUERY)",
        );
        health.heard(Code::AllBrokersDown, "1/1 brokers are down");
        let text = health.timed_out("read").to_string();
        assert!(text.contains("h:1/bootstrap: connection closed") && text.ends_with("`tls=true`?"), "{text}");
    }

    #[test]
    fn trouble_lasts_until_the_log_answers() {
        let health = health();
        assert_eq!(health.trouble(), None);
        health.failed(&BusError::UnknownTopic("t".into()));
        assert_eq!(health.trouble(), None);
        health.failed(&health.timed_out("append"));
        assert!(health.trouble().is_some());
        health.answered();
        assert_eq!(health.trouble(), None);
    }

    #[test]
    fn rights_and_missing_topics_name_the_topic() {
        let health = health();
        let error =
            health.explain("read", Some("t"), &KafkaError::MetadataFetch(Code::TopicAuthorizationFailed));
        assert!(matches!(&error, BusError::Refused { reason, .. } if reason.contains("`t`")), "{error}");
        let error = health.explain("read", Some("t"), &KafkaError::AdminOp(Code::UnknownTopicOrPartition));
        assert!(matches!(error, BusError::Recreated(topic) if topic == "t"));
        let error = health.explain("read the log", None, &KafkaError::AdminOp(Code::InvalidConfig));
        assert!(error.to_string().starts_with("the log cannot read the log"), "{error}");
    }
}
