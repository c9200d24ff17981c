//! Functions that concern the server itself: `login`, `logout` and every `ping`.

use super::envelope::Data;
use super::errors::PapiError;
use super::{Call, DIALECT, authentication, failures};

/// What a function says when there is nothing else to say: the string "true", as documented for login.
const DONE: &str = "true";

/// The login itself happens in `authentication`, as for every function.
pub(super) fn login() -> Result<Data, PapiError> {
    Data::of(&DONE)
}

/// Ends the sign-in of the cookie. A client that sends its credentials along means that sign-in too, and not the one
/// that its credentials made a moment ago: that one's cookie is given to nobody.
pub(super) async fn logout(call: &Call<'_>) -> Result<Data, PapiError> {
    let access = &call.app.state.access;
    let earlier = authentication::resume(access, call.caller).await?;
    let earlier = earlier.filter(|earlier| earlier.account == call.principal.account);
    let ended = earlier.as_ref().unwrap_or(call.principal);
    access.sign_out(ended, &call.caller.client, DIALECT).await.map_err(|error| failures::access(&error))?;
    Data::of(&DONE)
}

/// What Lastline's client expects of a ping (docs/dialects.md, "Functions").
pub(super) fn ping() -> Result<Data, PapiError> {
    Data::of(&"pong")
}
