//! Read your writes: an answer that is at least as new as a token.

use std::time::Duration;

use annals_schemas::Topic;
use annals_store::Followed;
use annals_views::audit_log::LogPositions;
use tokio::time::{Instant, sleep};

use super::parameters::{Given, WAITING, row};
use super::problem::Problem;
use super::token::{Token, positions_of};

/// The parameter with the token.
const AT_LEAST: &str = "at-least";

/// How often the view is asked how far it is.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// How long a request wants to wait.
pub(super) fn patience(given: &Given) -> Result<Duration, Problem> {
    if given.text(AT_LEAST).is_none() {
        return Ok(Duration::ZERO);
    }
    Ok(Duration::from_secs(given.number(row(WAITING, "wait")?)?.into()))
}

/// Returns once the view has folded the log up to the token of the request, if it has one.
pub(super) async fn until_folded(view: &Followed, topics: &[Topic], given: &Given) -> Result<(), Problem> {
    let Some(text) = given.text(AT_LEAST) else { return Ok(()) };
    let refused = |error| Problem::token(AT_LEAST, error);
    let token = Token::parse(text).map_err(refused)?;
    let deadline = Instant::now() + patience(given)?;
    loop {
        let reader = view.current();
        let known = reader.incarnations().await.map_err(|error| Problem::store(&error))?;
        token.check_log(&known, true).map_err(refused)?;
        let stored = reader.positions().await.map_err(|error| Problem::store(&error))?;
        match behind(&token, &positions_of(&stored), topics) {
            0 => return Ok(()),
            behind if Instant::now() >= deadline => return Err(Problem::not_yet(behind)),
            _ => sleep(POLL_INTERVAL).await,
        }
    }
}

/// How many events of these topics are still to be folded up to the token.
fn behind(token: &Token, positions: &LogPositions, topics: &[Topic]) -> u64 {
    let folded = Token { incarnations: Vec::new(), positions: positions.clone() };
    token
        .positions
        .iter()
        .filter(|(partition, _)| topics.iter().any(|topic| *topic.name == *partition.topic))
        .map(|(partition, wanted)| wanted.saturating_sub(folded.position(partition)))
        .fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use annals_schemas::topics::{AUDIT, HOST_LOGONS};
    use annals_store::Partition;

    #[test]
    fn only_what_the_view_folds_is_waited_for() {
        let at = |topic: &Topic, number, offset| (Partition::new(topic.name, number), offset);
        let wanted = vec![at(&AUDIT, 0, 10), at(&AUDIT, 1, 5), at(&HOST_LOGONS, 0, 7)];
        let token = Token { incarnations: Vec::new(), positions: wanted };
        assert_eq!(behind(&token, &vec![], &[AUDIT, HOST_LOGONS]), 22);
        assert_eq!(behind(&token, &vec![at(&AUDIT, 0, 12), at(&AUDIT, 1, 4)], &[AUDIT]), 1);
        assert_eq!(behind(&token, &token.positions, &[AUDIT, HOST_LOGONS]), 0);
        assert_eq!(behind(&Token::default(), &vec![], &[AUDIT]), 0);
    }

    #[test]
    fn the_wait_is_bounded_and_only_of_those_who_wait() {
        let patience = |query: &str| patience(&Given::parse(Some(query), &[WAITING]).unwrap());
        assert_eq!(patience("wait=10"), Ok(Duration::ZERO));
        assert_eq!(patience("at-least=x"), Ok(Duration::from_secs(5)));
        assert_eq!(patience("at-least=x&wait=0"), Ok(Duration::ZERO));
        assert!(patience("at-least=x&wait=11").is_err());
    }
}
