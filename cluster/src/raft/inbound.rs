//! What other servers of the consensus say to this one: frames of `wire`, handed to openraft, and its answers.
//!
//! Requests of one connection are handed over in the order they came and answered as they are done. A bounded number is
//! under way; then reading waits. A request that is not understood is refused and the connection goes on, so that a
//! newer leader learns why this server takes nothing from it.

use std::io;

use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use openraft::raft::AppendEntriesResponse;
use tokio::{
    io::{AsyncRead, AsyncWrite, BufReader},
    sync::mpsc,
    task::JoinSet,
};

use super::{Consensus, Raft, codec::CodecError, contact::Contact, wire};
use crate::rpc::{
    frame::{Budget, FRAME_DEADLINE, Frame, FrameReader, write_all},
    link::{CANCEL, PING, PONG},
};

/// Requests of one connection under way.
const UNDER_WAY: usize = 64;
/// Answers that wait to be written.
const OUTBOX: usize = 64;

impl Consensus {
    /// Serves a connection another server made to this one; it has greeted and meant this one.
    pub(crate) async fn serve_peer<S>(&self, stream: S, sender: u64) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (input, output) = tokio::io::split(stream);
        let input = BufReader::with_capacity(64 * 1024, input);
        let frames = FrameReader::new(input, wire::MESSAGE_LIMIT, self.inbound.clone(), FRAME_DEADLINE);
        let (outbox, answers) = mpsc::channel(OUTBOX);
        tokio::select! {
            ended = self.read_peer(sender, frames, outbox) => ended,
            ended = write_all(output, answers) => ended,
        }
    }

    /// Takes a snapshot from the leader.
    pub(crate) async fn receive_snapshot<S>(&self, stream: S) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        self.receiver.receive(stream, &self.raft).await
    }

    async fn read_peer<R: AsyncRead + Unpin>(
        &self,
        sender: u64,
        mut frames: FrameReader<R>,
        outbox: mpsc::Sender<Frame>,
    ) -> io::Result<()> {
        let mut under_way: JoinSet<()> = JoinSet::new();
        while let Some(incoming) = frames.next().await? {
            while under_way.try_join_next().is_some() {}
            if under_way.len() >= UNDER_WAY {
                under_way.join_next().await;
            }
            let Frame { kind, id, body } = incoming.frame;
            let mut answer: BoxFuture<'static, Result<Bytes, String>> = match kind {
                PING => {
                    outbox.send(Frame::bare(PONG, 0)).await.map_err(|_| io::ErrorKind::BrokenPipe)?;
                    continue;
                }
                // What was said in the consensus is not taken back.
                CANCEL => continue,
                wire::APPEND => append(self.raft.clone(), self.contact.clone(), &body),
                wire::VOTE => vote(self.raft.clone(), &body),
                wire::PRE_VOTE => pre_vote(self.raft.clone(), &body),
                wire::TRANSFER => transfer(self.raft.clone(), &body),
                kind => {
                    let reason = format!("a message of kind {kind} is not known");
                    return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
                }
            };
            // The first poll queues it, so that the order is kept whichever task goes on with it.
            let early = (&mut answer).now_or_never();
            let outbox = outbox.clone();
            under_way.spawn(async move {
                let answer = match early {
                    Some(answer) => answer,
                    None => answer.await,
                };
                drop(incoming._taken);
                let _ = outbox.send(to_frame(sender, id, answer)).await;
            });
        }
        Ok(())
    }
}

fn to_frame(sender: u64, id: u64, answer: Result<Bytes, String>) -> Frame {
    match answer {
        Ok(body) => Frame::new(wire::ANSWER, id, body),
        Err(reason) => {
            tracing::warn!(target: "agent.server.raft", "a message of server {sender} is refused: {reason}");
            Frame::new(wire::FAILED, id, reason)
        }
    }
}

fn refusal(error: impl ToString) -> String {
    error.to_string()
}

fn refused(error: &CodecError) -> BoxFuture<'static, Result<Bytes, String>> {
    let reason = error.to_string();
    async move { Err(reason) }.boxed()
}

fn append(raft: Raft, contact: Contact, body: &[u8]) -> BoxFuture<'static, Result<Bytes, String>> {
    let request = match wire::decode_append(body) {
        Ok(request) => request,
        Err(error) => return refused(&error),
    };
    async move {
        let answer = raft.append_entries(request).await.map_err(refusal)?;
        if !matches!(answer, AppendEntriesResponse::HigherVote(_)) {
            contact.heard();
        }
        wire::encode_append_answer(&answer).map_err(refusal)
    }
    .boxed()
}

fn vote(raft: Raft, body: &[u8]) -> BoxFuture<'static, Result<Bytes, String>> {
    let request = match wire::decode_vote(body) {
        Ok(request) => request,
        Err(error) => return refused(&error),
    };
    async move { wire::encode_vote_answer(&raft.vote(request).await.map_err(refusal)?).map_err(refusal) }.boxed()
}

fn pre_vote(raft: Raft, body: &[u8]) -> BoxFuture<'static, Result<Bytes, String>> {
    let request = match wire::decode_vote(body) {
        Ok(request) => request,
        Err(error) => return refused(&error),
    };
    async move { wire::encode_vote_answer(&raft.pre_vote(request).await.map_err(refusal)?).map_err(refusal) }.boxed()
}

fn transfer(raft: Raft, body: &[u8]) -> BoxFuture<'static, Result<Bytes, String>> {
    let request = match wire::decode_transfer(body) {
        Ok(request) => request,
        Err(error) => return refused(&error),
    };
    async move {
        let answer = raft.handle_transfer_leader(request).await.map_err(refusal)?;
        wire::encode_transfer_answer(&answer).map_err(refusal)
    }
    .boxed()
}

/// Memory for large messages on their way in.
pub(super) fn budget() -> Budget {
    Budget::of_kib(128 * 1024)
}
