//! An instance that answers everything with nothing, and says the same cut each time.

use std::{net::SocketAddr, pin::Pin};

use dagor::{admission::Cut, pb::service as pb};
use tokio::net::TcpListener;
use tokio_stream::{Stream, StreamExt, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// Calls that each link may have unanswered.
const GRANTS: u32 = 100;

#[derive(Clone, Copy)]
pub(crate) struct Strict {
    pub(crate) cut: Cut,
}

impl Strict {
    /// Starts it on a port that the system chooses; it ends with the test's runtime.
    pub(crate) async fn start(self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Server::builder().add_service(pb::logic_server::LogicServer::new(self));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }

    fn answer(self, calls: pb::Calls) -> pb::Answers {
        let answer = |call: pb::Call| pb::Answer { id: call.id, ..pb::Answer::default() };
        let answers = calls.calls.into_iter().map(answer).collect();
        pb::Answers { answers, cut: Some(self.cut.bits()), grants: Some(GRANTS) }
    }
}

#[tonic::async_trait]
impl pb::logic_server::Logic for Strict {
    type ServeStream = Pin<Box<dyn Stream<Item = Result<pb::Answers, Status>> + Send>>;

    async fn serve(&self, request: Request<Streaming<pb::Calls>>) -> Result<Response<Self::ServeStream>, Status> {
        let strict = *self;
        let answers = request.into_inner().map(move |calls| calls.map(|calls| strict.answer(calls)));
        Ok(Response::new(Box::pin(answers)))
    }
}
