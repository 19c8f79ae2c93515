//! One question and its answer over the network.

use std::{io, net::SocketAddr, time::Duration};

use hickory_proto::{
    op::{Edns, Message, MessageType, Query},
    rr::Name,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{timeout, timeout_at},
};

use super::Dns;
use crate::health::probe::{Limit, dial::DialError, text, udp::connected};

/// How long nobody answers before the question is sent again: a datagram may be lost.
const AGAIN: Duration = Duration::from_secs(1);
/// The size of an answer over UDP that no network has to cut to pieces (RFC 9715 section 3.1).
const UDP_MAX: u16 = 1232;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{} {address}: {}", .network, text::io_error(source))]
    Network { network: &'static str, address: SocketAddr, source: io::Error },
    #[error("{network}: {}", text::io_error(source))]
    Stream { network: &'static str, source: io::Error },
    #[error("i/o timeout")]
    Timeout,
    #[error("the answer cannot be read: {0}")]
    Malformed(String),
}

impl Dns {
    /// Asks the server's addresses in turn, until one answers or the time is over.
    pub(super) async fn ask(&self, limit: Limit) -> Result<Message, AskError> {
        let mut question = Message::query();
        question.metadata.recursion_desired = true;
        question.add_query(Query::query(self.name.clone(), self.kind));
        let mut edns = Edns::new();
        edns.set_max_payload(UDP_MAX);
        question.set_edns(edns);
        let packet = question.to_vec().map_err(|error| AskError::Malformed(error.to_string()))?;
        let mut failure = AskError::Timeout;
        for address in self.server.addresses("udp", limit).await? {
            match timeout_at(limit.deadline, over_udp(address, &question, &packet)).await {
                Ok(Ok(answer)) if answer.metadata.truncation => return self.over_tcp(&question, &packet, limit).await,
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(source)) => failure = AskError::Network { network: "udp", address, source },
                Err(_) => return Err(AskError::Timeout),
            }
        }
        Err(failure)
    }

    async fn over_tcp(&self, question: &Message, packet: &[u8], limit: Limit) -> Result<Message, AskError> {
        let mut stream = self.server.connect(limit).await?;
        let exchanged = timeout_at(limit.deadline, async {
            let length = u16::try_from(packet.len()).map_err(io::Error::other)?;
            stream.write_all(&[&length.to_be_bytes(), packet].concat()).await?;
            let length = stream.read_u16().await?;
            let mut answer = vec![0; usize::from(length)];
            stream.read_exact(&mut answer).await?;
            Ok(answer)
        });
        let answer = exchanged
            .await
            .map_err(|_| AskError::Timeout)?
            .map_err(|source| AskError::Stream { network: "tcp", source })?;
        let message = Message::from_vec(&answer).map_err(|error| AskError::Malformed(error.to_string()))?;
        if !answers(&message, question) {
            return Err(AskError::Malformed("it answers something else".to_owned()));
        }
        Ok(message)
    }
}

/// Waits for an answer for as long as it takes. What is none, or one to something else, is not heard.
async fn over_udp(address: SocketAddr, question: &Message, packet: &[u8]) -> io::Result<Message> {
    let socket = connected(address).await?;
    let mut buffer = vec![0; usize::from(UDP_MAX).max(4096)];
    loop {
        socket.send(packet).await?;
        let heard = timeout(AGAIN, async {
            loop {
                let length = socket.recv(&mut buffer).await?;
                let answer = Message::from_vec(buffer.get(..length).unwrap_or_default());
                if let Ok(answer) = answer
                    && answers(&answer, question)
                {
                    return Ok(answer);
                }
            }
        });
        if let Ok(answered) = heard.await {
            return answered;
        }
    }
}

/// Whether a message answers this very question (RFC 5452 section 9.1).
fn answers(message: &Message, question: &Message) -> bool {
    let asked = |message: &Message| -> Option<(Name, _)> {
        message.queries.first().map(|query| (query.name().to_lowercase(), query.query_type()))
    };
    message.metadata.message_type == MessageType::Response
        && message.metadata.id == question.metadata.id
        // Who cannot read a question may leave it out of the answer.
        && (message.queries.is_empty() || asked(message) == asked(question))
}
