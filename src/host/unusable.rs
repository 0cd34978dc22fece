//! A host that could not be made: every call answers why.

use crate::job::upload::{Ack, Found, Opened, Outcome, Repeat, Shape};

use super::{Answer, Completion, FileFacts, Host, HostError, Part, Tickets, UploadSession};

/// A host whose secret cannot be had, with the reason.
pub(crate) struct Unusable(pub HostError);

impl Unusable {
    fn refuse<T: Send + 'static>(&self) -> Answer<'_, T> {
        Box::pin(async { Err(self.0.clone()) })
    }
}

impl Host for Unusable {
    fn shape(&self, _: u64) -> Shape {
        Shape { repeat: Repeat::Harmless, ..Shape::parts(u64::MAX) }
    }

    fn open<'a>(&'a self, _: &'a FileFacts, _: &'a Tickets) -> Answer<'a, Opened> {
        self.refuse()
    }

    fn send<'a>(&'a self, _: &'a UploadSession, _: &'a Part) -> Answer<'a, Ack> {
        self.refuse()
    }

    fn probe<'a>(&'a self, _: &'a UploadSession, _: Completion<'a>) -> Answer<'a, Found> {
        self.refuse()
    }

    fn finish<'a>(&'a self, _: &'a UploadSession, _: Completion<'a>) -> Answer<'a, Outcome> {
        self.refuse()
    }

    fn abandon<'a>(&'a self, _: &'a UploadSession) -> Answer<'a, ()> {
        self.refuse()
    }

    fn check(&self) -> Answer<'_, String> {
        self.refuse()
    }
}
