//! A snapshot on its way to a server that is far behind, over a connection of its own.
//!
//! ```text
//!   leader: OFFER (vote, what it covers, length) │                  │ PIECE … │ END (checksum) │
//!   follower:                                    │ ANSWER (send it) │                          │ ANSWER (installed)
//! ```
//!
//! The file goes as it is. The receiver puts it beside its own snapshots under an unfinished name, looks at every record
//! of it, and only then lets it take the place of its catalog; a server without a disk does the same in memory.

use std::{
    io::{self, Cursor},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use openraft::{Snapshot, alias::SnapshotOf, raft::SnapshotResponse};
use tokio::{
    fs::File,
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    sync::Semaphore,
    time::timeout,
};

use super::{
    Raft,
    codec::{self, Kind, StoredVote},
    snapshot::{SnapshotData, Snapshots},
    types::{SnapshotMeta, TypeConfig, Vote},
    wire::{self, ANSWER, ANSWER_LIMIT, END, FAILED, OFFER, Offer, OfferAnswer, PIECE},
};
use crate::rpc::{
    frame::{Budget, FRAME_DEADLINE, Frame, FrameReader, in_time, write_frame},
    greeting::{self, Greeting},
};

/// Bytes of one piece.
const PIECE_BYTES: usize = 64 * 1024;
/// How long the receiver may take to install what it was sent.
const INSTALL_DEADLINE: Duration = Duration::from_secs(300);
/// The largest snapshot that is taken into memory; on disk the disk is the limit.
const LARGEST_IN_MEMORY: u64 = 2 * 1024 * 1024 * 1024;

/// Sends a snapshot and waits until it is installed, or refused because of a higher vote.
pub(super) async fn send(
    address: SocketAddr,
    greeting: Greeting,
    vote: &Vote,
    snapshot: SnapshotOf<TypeConfig, SnapshotData>,
    dial: Duration,
) -> io::Result<SnapshotResponse<TypeConfig>> {
    let Snapshot { meta, snapshot } = snapshot;
    let (mut content, length) = open(&meta, snapshot).await?;
    let stream = greeting::dial(address, greeting, dial).await?;
    let (input, mut output) = tokio::io::split(stream);
    let mut answers = FrameReader::new(input, ANSWER_LIMIT, Budget::of_kib(1), INSTALL_DEADLINE);

    let offer = Offer { vote: vote.into(), header: codec::SnapshotHeader::new(&meta), length };
    in_time(write_frame(&mut output, &Frame::new(OFFER, 0, codec::encode(Kind::Offer, &offer)?))).await?;
    let answer = read_answer(&mut answers).await?;
    if !answer.accepted {
        return Ok(SnapshotResponse::new(answer.vote.into()));
    }
    let mut checksum = crc32fast::Hasher::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let read = content.read(&mut piece).await?;
        let Some(bytes) = piece.get(..read).filter(|bytes| !bytes.is_empty()) else {
            break;
        };
        checksum.update(bytes);
        in_time(write_frame(&mut output, &Frame::new(PIECE, 0, bytes.to_vec()))).await?;
    }
    let end = checksum.finalize().to_be_bytes().to_vec();
    in_time(write_frame(&mut output, &Frame::new(END, 0, end))).await?;
    Ok(SnapshotResponse::new(read_answer(&mut answers).await?.vote.into()))
}

/// A snapshot's bytes, and how many they are.
async fn open(meta: &SnapshotMeta, data: SnapshotData) -> io::Result<(Box<dyn AsyncRead + Send + Unpin>, u64)> {
    let path = match data {
        SnapshotData::File(path) | SnapshotData::Received(path) => path,
        SnapshotData::State(state) => {
            let meta = meta.clone();
            let bytes = crate::blocking::run(move || super::snapshot::to_bytes(&meta, &state)).await;
            let bytes = bytes.map_err(io::Error::other)??;
            let length = bytes.len() as u64;
            return Ok((Box::new(Cursor::new(bytes)), length));
        }
    };
    let file = File::open(path).await?;
    let length = file.metadata().await?.len();
    Ok((Box::new(file), length))
}

async fn read_answer<R: AsyncRead + Unpin>(answers: &mut FrameReader<R>) -> io::Result<OfferAnswer> {
    let closed = || io::Error::new(io::ErrorKind::UnexpectedEof, "connection closed");
    let frame = answers.next().await?.ok_or_else(closed)?.frame;
    match frame.kind {
        ANSWER => Ok(codec::decode(Kind::OfferAnswer, &frame.body)?),
        _ => Err(io::Error::other(String::from_utf8_lossy(&frame.body).into_owned())),
    }
}

/// Takes snapshots in, one at a time. Clones share it.
#[derive(Clone)]
pub(super) struct Receiver {
    turn: Arc<Semaphore>,
    snapshots: Snapshots,
}

impl Receiver {
    pub(super) fn new(snapshots: Snapshots) -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), snapshots }
    }

    /// Takes one snapshot from a connection that was greeted.
    pub(super) async fn receive<S>(&self, stream: S, raft: &Raft) -> io::Result<()>
    where
        S: AsyncRead + AsyncWrite + Send,
    {
        let (input, mut output) = tokio::io::split(stream);
        let input = BufReader::with_capacity(PIECE_BYTES, input);
        let mut frames = FrameReader::new(input, wire::ANSWER_LIMIT, Budget::of_kib(1024), FRAME_DEADLINE);
        let answer = match self.receive_inner(&mut frames, &mut output, raft).await {
            Ok(answer) => Frame::new(ANSWER, 0, codec::encode(Kind::OfferAnswer, &answer)?),
            Err(error) => {
                tracing::warn!(target: "agent.server.raft", "a snapshot was not taken: {error}");
                Frame::new(FAILED, 0, error.to_string())
            }
        };
        in_time(write_frame(&mut output, &answer)).await?;
        in_time(output.shutdown()).await
    }

    async fn receive_inner<R, W>(
        &self,
        frames: &mut FrameReader<R>,
        output: &mut W,
        raft: &Raft,
    ) -> io::Result<OfferAnswer>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let Offer { vote, header, length } = codec::decode(Kind::Offer, &expect(frames, OFFER).await?)?;
        let (offered, meta) = (Vote::from(vote), header.into_meta()?);
        let own = current_vote(raft).await?;
        // What its sender no longer may do is not taken; the answer tells it so.
        if own > offered {
            return Ok(OfferAnswer { vote: StoredVote::from(&own), accepted: false });
        }
        let _turn = self.turn.try_acquire().map_err(|_| io::Error::other("another snapshot is being received"))?;
        let go_on = OfferAnswer { vote: StoredVote::from(&own), accepted: true };
        in_time(write_frame(output, &Frame::new(ANSWER, 0, codec::encode(Kind::OfferAnswer, &go_on)?))).await?;

        let (snapshot, _unfinished) = match self.snapshots.unfinished() {
            Some(path) => {
                let unfinished = Unfinished(path);
                receive_file(frames, &unfinished.0, length).await?;
                (SnapshotData::Received(unfinished.0.clone()), Some(unfinished))
            }
            None => (receive_state(frames, &meta, length).await?, None),
        };
        let installed = timeout(INSTALL_DEADLINE, raft.install_full_snapshot(offered, Snapshot { meta, snapshot }));
        let installed = installed.await.map_err(|_| io::Error::other("installing it took too long"))?;
        let answer = installed.map_err(io::Error::other)?;
        Ok(OfferAnswer { vote: StoredVote::from(&answer.vote), accepted: true })
    }
}

async fn current_vote(raft: &Raft) -> io::Result<Vote> {
    raft.with_raft_state(|state| *state.vote_ref()).await.map_err(io::Error::other)
}

/// A file that is removed again unless it was given its final name.
struct Unfinished(PathBuf);

impl Drop for Unfinished {
    fn drop(&mut self) {
        match std::fs::remove_file(&self.0) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(target: "agent.server.raft", "{}: cannot be removed: {error}", self.0.display());
            }
            _ => {}
        }
    }
}

async fn receive_file<R: AsyncRead + Unpin>(frames: &mut FrameReader<R>, path: &Path, length: u64) -> io::Result<()> {
    let mut file = File::create(path).await?;
    receive_pieces(frames, &mut file, length).await?;
    file.sync_all().await
}

async fn receive_state<R: AsyncRead + Unpin>(
    frames: &mut FrameReader<R>,
    meta: &SnapshotMeta,
    length: u64,
) -> io::Result<SnapshotData> {
    if length > LARGEST_IN_MEMORY {
        return Err(io::Error::other(format!("a snapshot of {length} bytes is too large to be kept in memory")));
    }
    let mut bytes = Vec::new();
    receive_pieces(frames, &mut bytes, length).await?;
    let wanted = meta.clone();
    let state = crate::blocking::run(move || super::snapshot::from_bytes(&wanted, &bytes)).await;
    Ok(SnapshotData::State(Box::new(state.map_err(io::Error::other)??)))
}

/// Takes what was announced, no byte more and none less.
async fn receive_pieces<R, W>(frames: &mut FrameReader<R>, output: &mut W, length: u64) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let invalid = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    let (mut left, mut checksum) = (length, crc32fast::Hasher::new());
    while left > 0 {
        let piece = expect(frames, PIECE).await?;
        left = left.checked_sub(piece.len() as u64).ok_or_else(|| invalid("it is longer than announced".to_owned()))?;
        checksum.update(&piece);
        output.write_all(&piece).await?;
    }
    let end = expect(frames, END).await?;
    if *end != checksum.finalize().to_be_bytes() {
        return Err(invalid("it was damaged on its way".to_owned()));
    }
    output.flush().await
}

async fn expect<R: AsyncRead + Unpin>(frames: &mut FrameReader<R>, kind: u8) -> io::Result<bytes::Bytes> {
    let closed = || io::Error::new(io::ErrorKind::UnexpectedEof, "connection closed");
    let frame = frames.next().await?.ok_or_else(closed)?.frame;
    match frame.kind == kind {
        true => Ok(frame.body),
        false => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a message of kind {} where {kind} belongs", frame.kind),
        )),
    }
}
