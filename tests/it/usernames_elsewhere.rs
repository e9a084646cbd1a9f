//! User names of caches on other nodes. Real `larder serve` processes on one PostgreSQL: a client of one node that sends
//! the credential of a cache on the other one logs in, in vain, and stores no password.

use crate::support::control_plane::eventually;
use crate::support::db::Database;
use crate::support::machine::{Answer, Machine};
use crate::support::needs;
use crate::support::plain::Plain;

const REFUSED: &str = "CLIENT_ERROR authentication failure";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_to_a_cache_on_another_node_stores_nothing() {
    let Some(database) = needs(Database::postgres().await, "PostgreSQL") else {
        return;
    };
    let bobs = Machine::new(&database, "node-b.example");
    let bobs_node = bobs.start().await;
    let bob = bobs.order("bob", false).await;
    bob.is_on(&bobs);
    bobs.admin("nodes drain node-b.example").await;

    let alices = Machine::new(&database, "node-a.example");
    let alices_node = alices.start().await;
    let alice = alices.order("alice", false).await;
    alice.is_on(&alices);
    // Known from the list that a node gets when it starts.
    refuses_from_the_start(&alices, &alice, &bob).await;

    bobs.admin("nodes open node-b.example").await;
    alices.admin("nodes drain node-a.example").await;
    let carol = bobs.order("carol", false).await;
    carol.is_on(&bobs);
    // Known from a change. Each attempt that comes before it stores an item, and the next one tries again.
    eventually("Carol's user name is known on Alice's node", async || {
        let mut client = logged_in(&alices, &alice).await;
        client.login(&carol.username, &carol.password).await == REFUSED
    })
    .await;
    refuses_from_the_start(&alices, &alice, &carol).await;
    bobs_node.kill().await;
    alices_node.kill().await;
    database.drop().await;
}

async fn refuses_from_the_start(machine: &Machine, alice: &Answer, other: &Answer) {
    let as_block = format!("{} {}", other.username, other.password);
    for login in [
        format!(
            "set {} 0 0 {}\r\n{}\r\n",
            other.username,
            other.password.len(),
            other.password
        ),
        format!("ms k {}\r\n{as_block}\r\n", as_block.len()),
    ] {
        let mut client = logged_in(machine, alice).await;
        client.say(&format!("{login}get k\r\n")).await;
        assert_eq!(client.line().await, REFUSED, "{login}");
        assert_eq!(client.line().await, "CLIENT_ERROR unauthenticated");
        let mut again = logged_in(machine, alice).await;
        again.say("get k\r\n").await;
        assert_eq!(again.line().await, "END");
    }
}

pub async fn logged_in(machine: &Machine, who: &Answer) -> Plain {
    let (_, port) = machine.server.rsplit_once(':').expect("a port");
    let mut client = Plain::connect(&format!("127.0.0.1:{port}")).await;
    let answer = client.login(&who.username, &who.password).await;
    assert_eq!(answer, "STORED");
    client
}
