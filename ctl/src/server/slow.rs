//! Cuts off who does not read the answer it asked for, or does not send the
//! request it began.
//!
//! HTTP/2 asks an answer for its next piece only when the client has taken the
//! ones before. An answer that handed out a piece and is not asked for the next
//! within the limit is stuck: what produces it is dropped, which frees its thread
//! and its place among the calls, and only a status is left for a client that
//! ever reads on. The client's other calls are not touched.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use http_body::{Body as _, Frame, SizeHint};
use tokio::time::Sleep;
use tonic::body::Body;
use tonic::codegen::Bytes;
use tonic::codegen::http::HeaderMap;
use tonic::{Code, Status};

/// The answers under way.
pub(super) struct Readers {
    limit: Duration,
    answers: Mutex<Vec<Weak<Mutex<Answer>>>>,
}

/// An answer, shared by the connection that sends it and the watch over it.
enum Answer {
    Open {
        body: Body,
        /// A piece was handed out then, and no other asked for.
        unread_since: Option<Instant>,
        /// What to call it.
        what: String,
        /// Given back when the answer ends.
        _place: Box<dyn Send>,
    },
    /// Cut off; the status has yet to be told.
    Cut(Status),
    Ended,
}

impl Readers {
    pub(super) fn new(limit: Duration) -> Readers {
        Readers {
            limit,
            answers: Mutex::default(),
        }
    }

    /// Watches over an answer; `place` is dropped when it ends, one way or another.
    pub(super) fn enter(&self, body: Body, what: String, place: Box<dyn Send>) -> Body {
        if body.is_end_stream() {
            return body;
        }
        let answer = Arc::new(Mutex::new(Answer::Open {
            body,
            unread_since: None,
            what,
            _place: place,
        }));
        lock(&self.answers).push(Arc::downgrade(&answer));
        Body::new(Watched(answer))
    }

    /// Looks after all answers, for ever.
    pub(super) async fn watch(&self) {
        let pause = (self.limit / 4).clamp(Duration::from_millis(25), Duration::from_secs(1));
        loop {
            tokio::time::sleep(pause).await;
            self.look();
        }
    }

    fn look(&self) {
        let mut answers = lock(&self.answers);
        answers.retain(|answer| answer.strong_count() > 0);
        let answers: Vec<_> = answers.iter().filter_map(Weak::upgrade).collect();
        for answer in answers {
            // Dropped without the lock: it may wake whatever produces the answer.
            drop(lock(&answer).cut(self.limit));
        }
    }
}

impl Answer {
    /// Ends it if it is stuck, and returns what is to be dropped.
    fn cut(&mut self, limit: Duration) -> Option<Answer> {
        let Answer::Open {
            unread_since: Some(since),
            what,
            ..
        } = self
        else {
            return None;
        };
        if since.elapsed() < limit {
            return None;
        }
        let limit = limit.as_millis();
        tracing::warn!("{what}: nobody read for {limit} ms, so it was cut off");
        let status = Status::resource_exhausted(format!(
            "limits.slow_reader_ms: nothing of this answer was read for {limit} ms, so it was cut \
             off; what came before is not all"
        ));
        Some(std::mem::replace(self, Answer::Cut(status)))
    }
}

/// The answer as the connection sees it.
struct Watched(Arc<Mutex<Answer>>);

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let mut answer = lock(&self.0);
        let Answer::Open {
            body, unread_since, ..
        } = &mut *answer
        else {
            return match std::mem::replace(&mut *answer, Answer::Ended) {
                Answer::Cut(status) => Poll::Ready(Some(Ok(Frame::trailers(trailers(&status))))),
                _ => Poll::Ready(None),
            };
        };
        *unread_since = None;
        let frame = ready!(Pin::new(body).poll_frame(context));
        match &frame {
            Some(_) => *unread_since = Some(Instant::now()),
            None => *answer = Answer::Ended,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &*lock(&self.0) {
            Answer::Open { body, .. } => body.is_end_stream(),
            Answer::Cut(_) => false,
            Answer::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &*lock(&self.0) {
            Answer::Open { body, .. } => body.size_hint(),
            _ => SizeHint::default(),
        }
    }
}

fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // Never: the message is ASCII.
        trailers.insert(Status::GRPC_STATUS, (Code::ResourceExhausted as i32).into());
    }
    trailers
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A request that must go on coming: it ends in an error when nothing of it comes for `limit`.
pub(super) fn sender(body: Body, limit: Duration) -> Body {
    match body.is_end_stream() {
        true => body,
        false => Body::new(Timed {
            body,
            limit,
            patience: Box::pin(tokio::time::sleep(limit)),
        }),
    }
}

struct Timed {
    body: Body,
    limit: Duration,
    patience: Pin<Box<Sleep>>,
}

impl http_body::Body for Timed {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let timed = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut timed.body).poll_frame(context) {
            let until = tokio::time::Instant::now() + timed.limit;
            timed.patience.as_mut().reset(until);
            return Poll::Ready(frame);
        }
        ready!(timed.patience.as_mut().poll(context));
        let limit = timed.limit.as_millis();
        Poll::Ready(Some(Err(Status::resource_exhausted(format!(
            "limits.slow_reader_ms: nothing of this request came for {limit} ms"
        )))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
