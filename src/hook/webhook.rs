//! A request to an address: what the hook is told, as JSON. Repetitions carry the same `Idempotency-Key`, by which a
//! receiver knows them.

use std::time::Duration;

use crate::host::http::{Request, Transport};
use crate::job::upload::Class;
use crate::secret::Secret;

use super::HookError;
use super::told::Told;

/// Posts what is `told` to `address`; 2xx is success. The address may hold a secret and is never repeated.
pub(super) async fn post(address: &Secret, told: Told<'_>, transport: &Transport, limit: Duration) -> Result<(), HookError> {
    let (key, body) = (told.key(), told.json().to_string());
    let request = Request::post(address.reveal()).text("application/json", body).header("idempotency-key", key).secret(address);
    let sent = tokio::time::timeout(limit, transport.send(request)).await;
    match sent {
        Ok(Ok(reply)) if reply.is_success() => Ok(()),
        Ok(Ok(reply)) => Err(reply.failure(Class::Unreadable, format!("it answered {}", reply.status)).into()),
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(HookError::timed_out(format!("no answer within {} s", limit.as_secs()))),
    }
}
