//! The loop of a watch: ask, tell what is new, wait.

use tokio::time::{Instant, sleep};

use super::{
    plan::{Plan, Step},
    spec::{WAIT, Watch},
};
use crate::client::{Client, ClientError, Mark};

/// A change.
#[derive(Clone, Debug)]
pub struct Change {
    /// The index it was answered with.
    pub index: u64,
    /// All there is now, as compact JSON.
    pub json: String,
}

/// Who is told.
pub trait Told {
    /// What is there is new; the next question follows when this is done. An error ends the watch.
    fn change(&mut self, change: &Change) -> impl Future<Output = Result<(), Self::End>> + Send;

    /// There was no answer; the watch goes on after `wait`.
    fn failed(&mut self, error: &ClientError, wait: std::time::Duration);

    /// Why a watch ends.
    type End;
}

/// Asks once.
pub async fn once(client: &Client, watch: &Watch) -> Result<Change, ClientError> {
    let (mark, json) = client.marked(watch.request(&Mark::default()), WAIT).await?;
    Ok(Change { index: mark.index, json: json.to_string() })
}

/// Watches until whoever is told has had enough.
pub async fn run<T: Told>(client: &Client, watch: &Watch, told: &mut T) -> T::End {
    let mut plan = Plan::default();
    loop {
        let asked = Instant::now();
        match client.marked(watch.request(plan.known()), WAIT).await {
            Err(error) => {
                let wait = plan.failed();
                told.failed(&error, wait);
                sleep(wait).await;
            }
            Ok((mark, json)) => {
                let (index, json) = (mark.index, json.to_string());
                match plan.answered(mark, &json, asked.elapsed()) {
                    Step::Known(pause) => sleep(pause).await,
                    Step::New => {
                        if let Err(end) = told.change(&Change { index, json }).await {
                            return end;
                        }
                    }
                }
            }
        }
    }
}
