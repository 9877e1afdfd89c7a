//! Every refusal has one answer in each dialect: "certainly not run", why, the cut, and when to come back.

use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, RETRY_AFTER},
};

use super::header::{CUT, Dialect, REFUSED};
use crate::{
    admission::{Cause, Refusal},
    clock::whole_millis,
};

const GRPC_STATUS: &str = "grpc-status";
const GRPC_MESSAGE: &str = "grpc-message";
/// How long a gRPC client waits before it tries again on its own (gRFC A6).
const GRPC_PUSHBACK: &str = "grpc-retry-pushback-ms";

const RESOURCE_EXHAUSTED: u16 = 8;
const UNAVAILABLE: u16 = 14;

/// The gRPC status of a refusal. Too much to do is exhaustion; nobody there to do it is unavailability, which clients
/// may try elsewhere.
const fn grpc_status(cause: Cause) -> u16 {
    match cause {
        Cause::GatewayCut
        | Cause::ServiceCut
        | Cause::InstanceCut
        | Cause::ManagerCap
        | Cause::QueueFull
        | Cause::PushedOut
        | Cause::Expired
        | Cause::TooLate
        | Cause::Limit => RESOURCE_EXHAUSTED,
        Cause::NoInstance | Cause::Draining => UNAVAILABLE,
    }
}

/// The whole answer. Over HTTP it is 503 with `Retry-After`; over gRPC the status, in headers alone as the protocol
/// allows for an answer without messages, with the hint for automatic retries. The [`Refusal`] itself goes along as an
/// extension, for layers further out.
pub(super) fn response<B>(dialect: &Dialect, refusal: Refusal, body: B) -> Response<B> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(REFUSED, HeaderValue::from_static(refusal.cause.name()));
    headers.insert(CUT, HeaderValue::from(refusal.cut.bits()));
    match dialect {
        Dialect::Http => {
            // Whole seconds, rounded up: before its time another try is in vain.
            let seconds = refusal.retry_after.as_secs() + u64::from(refusal.retry_after.subsec_nanos() > 0);
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        Dialect::Grpc(kind) => {
            headers.insert(CONTENT_TYPE, kind.clone());
            headers.insert(GRPC_STATUS, HeaderValue::from(grpc_status(refusal.cause)));
            headers.insert(GRPC_MESSAGE, HeaderValue::from_static(refusal.cause.name()));
            headers.insert(GRPC_PUSHBACK, HeaderValue::from(whole_millis(refusal.retry_after)));
        }
    }
    response.extensions_mut().insert(refusal);
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admission::{Cut, Level, Value};

    fn refusal(cause: Cause) -> Refusal {
        let value = Value::new(Level::new(9, 1), 5);
        Refusal { cause, value, cut: Cut::from_bits(77), retry_after: Duration::from_millis(1250) }
    }

    fn header<'a>(response: &'a Response<()>, name: &str) -> &'a str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[test]
    fn over_http_it_is_503_with_a_time_to_come_back() {
        let response = response(&Dialect::Http, refusal(Cause::ServiceCut), ());
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let line = ["retry-after", "dagor-cut", "dagor-refused"].map(|name| header(&response, name));
        assert_eq!(line, ["2", "77", "service_cut"]);
        assert_eq!(response.extensions().get(), Some(&refusal(Cause::ServiceCut)));
    }

    #[test]
    fn over_grpc_it_is_a_status_with_pushback() {
        let dialect = Dialect::Grpc(HeaderValue::from_static("application/grpc+proto"));
        let names = ["content-type", "grpc-status", "grpc-message", "grpc-retry-pushback-ms", "dagor-cut"];
        let line = |cause| {
            let response = response(&dialect, refusal(cause), ());
            assert_eq!(response.status(), StatusCode::OK);
            names.map(|name| header(&response, name).to_owned())
        };
        assert_eq!(line(Cause::QueueFull), ["application/grpc+proto", "8", "queue_full", "1250", "77"]);
        assert_eq!(line(Cause::Draining), ["application/grpc+proto", "14", "draining", "1250", "77"]);
    }
}
