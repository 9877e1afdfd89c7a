//! A place that work elsewhere keeps: where a handler has handed its request to another process, that process goes on
//! when the caller is gone, and to give its place away would send it more than it can do.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::layer::Place;

/// A place with several holders: free once the answer has ended, or all holders are gone.
#[derive(Debug)]
pub(super) struct SharedPlace(Arc<Mutex<Option<Place>>>);

impl SharedPlace {
    pub(super) fn new(place: Place) -> Self {
        Self(Arc::new(Mutex::new(Some(place))))
    }

    /// The answer has ended, whoever still holds the place.
    pub(super) fn complete(self) {
        // The place is there or not, also after a panic.
        let place = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(place) = place {
            place.complete();
        }
    }

    pub(super) fn handle(&self) -> PlaceHandle {
        PlaceHandle(Arc::downgrade(&self.0))
    }
}

/// Among a request's extensions, if it came through a [`Gatehouse`](super::Gatehouse): the way to keep its place.
///
/// A place is free when its response is dropped, which happens as well when the caller goes away. That is right where the
/// work ends with it. A proxy's does not: the upstream works on. So it keeps the place until the upstream has answered:
///
/// ```
/// use axum::{body::Body, extract::Request, http::StatusCode, response::{IntoResponse, Response}};
/// use dagor::layer::http::PlaceHandle;
/// # async fn upstream(_: Request) -> Response { StatusCode::OK.into_response() }
///
/// async fn forward(request: Request) -> Response {
///     let place = request.extensions().get().and_then(PlaceHandle::keep);
///     let call = tokio::spawn(async move { (upstream(request).await, place) });
///     call.await.map_or_else(|_| StatusCode::BAD_GATEWAY.into_response(), |(response, _place)| response)
/// }
/// ```
#[derive(Clone, Debug)]
pub struct PlaceHandle(Weak<Mutex<Option<Place>>>);

impl PlaceHandle {
    /// Keeps the place until what this returns is dropped, or the answer has ended. Nothing if it is free already.
    pub fn keep(&self) -> Option<KeptPlace> {
        self.0.upgrade().map(KeptPlace)
    }
}

/// One of the holders of a place, from [`PlaceHandle::keep`].
#[derive(Debug)]
#[must_use = "dropping it gives the place away"]
pub struct KeptPlace(#[expect(dead_code, reason = "it is held, not read")] Arc<Mutex<Option<Place>>>);
