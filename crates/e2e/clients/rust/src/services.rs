//! Locks, elections, members, users: each with two clients where one alone would see nothing.

use std::time::Duration;

use etcd_client::{
    Client, ConnectOptions, Error, KvClientPrefix, LeaseGrantOptions, LockOptions,
    MemberAddOptions, Permission, PermissionType, ProclaimOptions, ResignOptions,
    RoleRevokePermissionOptions, UserAddOptions,
};

use crate::{failing, show};

pub async fn locks(client: &mut Client, endpoint: &str) -> Result<(), Error> {
    for id in [61, 62] {
        client.lease_grant(600, Some(LeaseGrantOptions::new().with_id(id))).await?;
    }
    let mut other = Client::connect([endpoint], None).await?;
    let held = client.lock("lock", Some(LockOptions::new().with_lease(61))).await?;
    println!("held: {}", String::from_utf8_lossy(held.key()));
    let again = client.lock("lock", Some(LockOptions::new().with_lease(61))).await?;
    println!("again: {}", held.key() == again.key());
    let waits = tokio::spawn(async move {
        let lock = other.lock("lock", Some(LockOptions::new().with_lease(62))).await;
        (lock, other)
    });
    while client.get("lock/3e", None).await?.count() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    println!("waits: {}", !waits.is_finished());
    client.unlock(held.key()).await?;
    let (lock, mut other) = waits.await.expect("it does not panic");
    let lock = lock?;
    println!("next: {}", String::from_utf8_lossy(lock.key()));
    // Who loses its lease loses the lock.
    client.lease_revoke(62).await?;
    failing("no lease", other.lock("lock", Some(LockOptions::new().with_lease(62))).await);
    println!("unlocked: {}", client.get(lock.key(), None).await?.count());
    client.lease_revoke(61).await?;
    Ok(())
}

pub async fn elections(client: &mut Client, endpoint: &str) -> Result<(), Error> {
    for id in [71, 72] {
        client.lease_grant(600, Some(LeaseGrantOptions::new().with_id(id))).await?;
    }
    failing("nobody", client.leader("post").await);
    let first = client.campaign("post", "first", 71).await?;
    let first = first.leader().expect("who is elected has a key").clone();
    println!("first: {} {} {}", first.key_str()?, first.rev(), first.lease());
    // etcd says nothing at all, not even that it listens, before somebody leads.
    let mut observed = Client::connect([endpoint], None).await?.observe("post").await?;
    let heard = async |observed: &mut etcd_client::ObserveStream| {
        let reply = observed.message().await?;
        let kv = reply.as_ref().and_then(|reply| reply.kv());
        println!("heard: {kv:?}");
        Ok::<_, Error>(())
    };
    heard(&mut observed).await?;
    let mut other = Client::connect([endpoint], None).await?;
    let waits = tokio::spawn(async move { (other.campaign("post", "second", 72).await, other) });
    while client.get("post/48", None).await?.count() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let proclaim = ProclaimOptions::new().with_leader(first.clone());
    client.proclaim("still first", Some(proclaim)).await?;
    heard(&mut observed).await?;
    println!("waits: {}", !waits.is_finished());
    client.resign(Some(ResignOptions::new().with_leader(first.clone()))).await?;
    let (second, mut other) = waits.await.expect("it does not panic");
    let second = second?;
    println!("second: {:?}", second.leader());
    heard(&mut observed).await?;
    println!("leader: {:?}", client.leader("post").await?.kv());
    let proclaim = ProclaimOptions::new().with_leader(first);
    failing("resigned", client.proclaim("no more", Some(proclaim)).await);
    failing("no lease", other.campaign("post", "third", 73).await);
    for id in [71, 72] {
        client.lease_revoke(id).await?;
    }
    failing("nobody left", client.leader("post").await);
    Ok(())
}

pub async fn members(client: &mut Client) -> Result<(), Error> {
    let listed = client.member_list().await?;
    let own = listed.members().first().expect("one answers").id();
    for member in listed.members() {
        println!("member: {} {:?}", member.name(), member.peer_urls());
    }
    let learner = MemberAddOptions::new().with_is_learner();
    let added = client.member_add(["http://127.0.0.1:1"], Some(learner)).await?;
    let id = added.member().expect("it is added").id();
    println!("added: {:?}", added.member_list().len());
    let learner = MemberAddOptions::new().with_is_learner();
    failing("another", client.member_add(["http://127.0.0.1:2"], Some(learner)).await);
    failing("too early", client.member_promote(id).await);
    failing("taken", client.member_update(id, ["http://127.0.0.1:2380".to_owned()]).await);
    client.member_update(id, ["http://127.0.0.1:3".to_owned()]).await?;
    // In the order of ids, and a new member's is another one each time.
    for member in client.member_list().await?.members().iter().filter(|one| one.id() == id) {
        println!("then: {:?} {}", member.peer_urls(), member.is_learner());
    }
    client.member_remove(id).await?;
    failing("removed", client.member_remove(id).await);
    failing("the last one", client.member_remove(own).await);
    failing("unknown", client.move_leader(1).await);
    client.move_leader(own).await?;
    println!("left: {}", client.member_list().await?.members().len());
    println!("hash: {}", client.hash().await?.hash() != 0);
    Ok(())
}

pub async fn prefixes(client: &mut Client) -> Result<(), Error> {
    let mut inside = KvClientPrefix::new(client.kv_client(), "inside/".into());
    inside.put("a", "1", None).await?;
    show("inside", inside.get("a", None).await?.kvs());
    show("outside", client.get("inside/a", None).await?.kvs());
    println!("deleted: {}", inside.delete("a", None).await?.deleted());
    Ok(())
}

pub async fn users(client: &mut Client, endpoint: &str) -> Result<(), Error> {
    failing("too early", client.auth_enable().await);
    client.user_add("root", "secret", None).await?;
    failing("twice", client.user_add("root", "secret", None).await);
    client.user_grant_role("root", "root").await?;
    client.user_add("me", "word", None).await?;
    client.user_add("bare", "", Some(UserAddOptions::new().with_no_pwd())).await?;
    client.role_add("some").await?;
    failing("no such role", client.user_grant_role("me", "none").await);
    let all = Permission::read_write("some/").with_prefix();
    client.role_grant_permission("some", all).await?;
    client.role_grant_permission("some", Permission::read("one")).await?;
    let from = Permission::new(PermissionType::Write, "x").with_from_key();
    client.role_grant_permission("some", from).await?;
    client.user_grant_role("me", "some").await?;
    println!("permissions: {:?}", client.role_get("some").await?.permissions());
    println!("roles: {:?}", client.role_list().await?.roles());
    println!("users: {:?}", client.user_list().await?.users());
    println!("mine: {:?}", client.user_get("me").await?.roles());
    client.auth_enable().await?;
    failing("without a name", client.get("one", None).await);

    let with = |name: &str, password: &str| Some(ConnectOptions::new().with_user(name, password));
    for (name, password) in [("me", "wrong"), ("none", "word"), ("bare", "")] {
        let refused = Client::connect([endpoint], with(name, password)).await;
        failing(name, refused.map(|_| "connected"));
    }
    let mut me = Client::connect([endpoint], with("me", "word")).await?;
    me.put("some/key", "x", None).await?;
    show("some", me.get("some/key", None).await?.kvs());
    me.put("y", "from x on", None).await?;
    failing("may write only", me.get("y", None).await);
    failing("may read only", me.put("one", "x", None).await);
    failing("no root", me.user_list().await);
    println!("own: {:?}", me.user_get("me").await?.roles());
    failing("of another", me.user_get("root").await);

    let mut root = Client::connect([endpoint], with("root", "secret")).await?;
    let revoked = RoleRevokePermissionOptions::new().with_from_key();
    root.role_revoke_permission("some", "x", Some(revoked)).await?;
    me.refresh_token().await?;
    failing("not any more", me.put("y", "x", None).await);
    root.user_change_password("me", "other").await?;
    failing("of before", me.get("some/key", None).await);
    me.update_user(Some(("me".to_owned(), "other".to_owned()))).await?;
    show("of now", me.get("some/key", None).await?.kvs());
    root.user_revoke_role("me", "some").await?;
    me.refresh_token().await?;
    failing("no role", me.get("some/key", None).await);
    root.user_delete("me").await?;
    root.role_delete("some").await?;
    failing("deleted", root.role_get("some").await);
    failing("root's own role", root.user_revoke_role("root", "root").await);
    root.auth_disable().await?;
    println!("users: {:?}", client.user_list().await?.users());
    Ok(())
}
