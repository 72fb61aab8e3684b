//! Sessions that write down what they were asked and what they answered; and sessions that give the
//! same answers again.

use std::net::IpAddr;

use dataplane::DropReason;
use dataplane::decide::sessions::{Asked, Binding, Bound, Step};
use dataplane::decide::{End, Sessions};
use dataplane::tables::nat::PoolId;
use dataplane::tables::service::ServiceId;

/// One question, with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Bind(Asked, Result<Binding, DropReason>),
    Bound(PoolId, u8, End, End, Result<Bound, DropReason>),
    Release(u32),
    BackendOf(ServiceId, IpAddr, Option<End>),
    KeepBackend(ServiceId, IpAddr, End),
    Step(Step),
}

/// Passes questions on, and remembers.
pub struct Recorder<S> {
    inner: S,
    pub calls: Vec<Call>,
}

impl<S> Recorder<S> {
    pub fn new(inner: S) -> Recorder<S> {
        Recorder {
            inner,
            calls: Vec::new(),
        }
    }
}

impl<S: Sessions> Sessions for Recorder<S> {
    fn bind(&mut self, asked: &Asked) -> Result<Binding, DropReason> {
        let answer = self.inner.bind(asked);
        self.calls.push(Call::Bind(*asked, answer));
        answer
    }

    fn bound(
        &mut self,
        pool: PoolId,
        protocol: u8,
        outside: End,
        remote: End,
    ) -> Result<Bound, DropReason> {
        let answer = self.inner.bound(pool, protocol, outside, remote);
        let call = Call::Bound(pool, protocol, outside, remote, answer);
        self.calls.push(call);
        answer
    }

    fn release(&mut self, id: u32) {
        self.inner.release(id);
        self.calls.push(Call::Release(id));
    }

    fn backend_of(&mut self, service: ServiceId, client: IpAddr) -> Option<End> {
        let answer = self.inner.backend_of(service, client);
        self.calls.push(Call::BackendOf(service, client, answer));
        answer
    }

    fn keep_backend(&mut self, service: ServiceId, client: IpAddr, backend: End) {
        self.inner.keep_backend(service, client, backend);
        self.calls.push(Call::KeepBackend(service, client, backend));
    }

    fn step(&mut self, step: Step) {
        self.calls.push(Call::Step(step));
    }
}

/// Has no state: gives the answers of a record, in order, to the same questions.
pub struct Replay<'a> {
    rest: std::slice::Iter<'a, Call>,
}

impl<'a> Replay<'a> {
    pub fn new(calls: &'a [Call]) -> Replay<'a> {
        Replay { rest: calls.iter() }
    }

    /// Whether all was asked again.
    pub fn is_over(&self) -> bool {
        self.rest.as_slice().is_empty()
    }

    fn next(&mut self) -> &'a Call {
        self.rest.next().expect("no more is asked than before")
    }
}

impl Sessions for Replay<'_> {
    fn bind(&mut self, asked: &Asked) -> Result<Binding, DropReason> {
        match self.next() {
            Call::Bind(before, answer) if before == asked => *answer,
            other => panic!("asked to bind {asked:?}, and before {other:?}"),
        }
    }

    fn bound(
        &mut self,
        pool: PoolId,
        protocol: u8,
        outside: End,
        remote: End,
    ) -> Result<Bound, DropReason> {
        match self.next() {
            Call::Bound(a, b, c, d, answer)
                if (*a, *b, *c, *d) == (pool, protocol, outside, remote) =>
            {
                *answer
            }
            other => panic!("asked whose {outside:?} is, and before {other:?}"),
        }
    }

    fn release(&mut self, id: u32) {
        assert_eq!(*self.next(), Call::Release(id));
    }

    fn backend_of(&mut self, service: ServiceId, client: IpAddr) -> Option<End> {
        match self.next() {
            Call::BackendOf(a, b, answer) if (*a, *b) == (service, client) => *answer,
            other => panic!("asked for the backend of {client}, and before {other:?}"),
        }
    }

    fn keep_backend(&mut self, service: ServiceId, client: IpAddr, backend: End) {
        assert_eq!(*self.next(), Call::KeepBackend(service, client, backend));
    }

    fn step(&mut self, step: Step) {
        assert_eq!(*self.next(), Call::Step(step));
    }
}
