//! Reads that may be old are answered by the proxy, and never to whom they are not for.

use e2e::{Client, Member, Proxy, Rpc, Scratch, Server};
use proto::authpb::{Permission, UserAddOptions, permission};
use proto::etcdserverpb::{
    AuthEnableRequest, AuthRoleAddRequest, AuthRoleGrantPermissionRequest, AuthUserAddRequest,
    AuthUserGrantRoleRequest, AuthenticateRequest, DeleteRangeRequest, RangeRequest,
};

use super::{get, proxied, put, read_anywhere};

fn hits(proxy: &Proxy) -> f64 {
    proxy.metric("etcd_grpc_proxy_cache_hits_total").expect("it is there")
}

#[test]
fn a_read_that_may_be_old_is_read_once_and_written_keys_are_read_again() {
    let Some(pintle) = Server::pintle() else { return };
    let (_scratch, member, proxy) = proxied(&pintle, &[]);
    let client = Client::connect_to(proxy.address()).unwrap();
    client.call(&put("k", "1")).unwrap();
    for _ in 0..5 {
        assert_eq!(read_anywhere(&client, "k"), "1");
    }
    assert!((hits(&proxy) - 4.0).abs() < 0.5, "{}", hits(&proxy));
    client.call(&put("k", "2")).unwrap();
    assert_eq!(read_anywhere(&client, "k"), "2");
    // Who goes around it is not seen by those who may read what is old, and by the others at once.
    Client::connect(&member).unwrap().call(&put("k", "3")).unwrap();
    assert_eq!(read_anywhere(&client, "k"), "2");
    assert_eq!(client.call(&get("k")).unwrap().kvs[0].value, "3");
    assert_eq!(read_anywhere(&client, "k"), "3", "what was just read is what there is");
    let request = DeleteRangeRequest { key: "k".into(), ..DeleteRangeRequest::default() };
    client.call(&request).unwrap();
    assert_eq!(read_anywhere(&client, "k"), "");
}

#[test]
fn in_order_nothing_is_older_than_what_was_read() {
    let Some(pintle) = Server::pintle() else { return };
    let flags = ["--experimental-serializable-ordering"];
    let (_scratch, member, proxy) = proxied(&pintle, &flags);
    let client = Client::connect_to(proxy.address()).unwrap();
    client.call(&put("k", "1")).unwrap();
    assert_eq!(read_anywhere(&client, "k"), "1");
    assert_eq!(read_anywhere(&client, "k"), "1");
    assert!(hits(&proxy) > 0.5);
    Client::connect(&member).unwrap().call(&put("k", "2")).unwrap();
    // Whoever has read another key since may not be told what was before that.
    client.call(&get("other")).unwrap();
    assert_eq!(read_anywhere(&client, "k"), "2");
}

/// Somebody who shows a token.
struct User<'a> {
    client: &'a Client,
    token: String,
}

impl<'a> User<'a> {
    fn new(client: &'a Client, name: &str) -> Self {
        let (name, password) = (name.to_owned(), "p".to_owned());
        let token = client.call(&AuthenticateRequest { name, password }).unwrap().token;
        Self { client, token }
    }

    fn call<R: Rpc>(&self, request: &R) -> Result<R::Reply, e2e::Status> {
        self.client.block_on(async |grpc| grpc.clone().with_token(&self.token).call(request).await)
    }
}

fn add_users(client: &Client) {
    for name in ["root", "alice", "bob"] {
        let options = Some(UserAddOptions { no_password: false });
        let (name, password) = (name.to_owned(), "p".to_owned());
        let user = AuthUserAddRequest { name, password, options, ..AuthUserAddRequest::default() };
        client.call(&user).unwrap();
    }
    let perm = Permission {
        perm_type: permission::Type::Readwrite.into(),
        key: "k".into(),
        range_end: "".into(),
    };
    for role in ["root", "k"] {
        client.call(&AuthRoleAddRequest { name: role.to_owned() }).unwrap();
    }
    let name = "k".to_owned();
    client.call(&AuthRoleGrantPermissionRequest { name, perm: Some(perm) }).unwrap();
    for (user, role) in [("root", "root"), ("alice", "k")] {
        let (user, role) = (user.to_owned(), role.to_owned());
        client.call(&AuthUserGrantRoleRequest { user, role }).unwrap();
    }
    client.call(&AuthEnableRequest {}).unwrap();
}

#[test]
fn what_was_read_by_one_user_is_not_told_to_another() {
    let Some(pintle) = Server::pintle() else { return };
    let scratch = Scratch::new("cache");
    let flags = ["--unsafe-no-fsync", "--bcrypt-cost=4"];
    let member = Member::start(&pintle, scratch.path(), &flags).unwrap();
    let proxy = Proxy::grpc(&pintle, &member.endpoint(), &[]).unwrap();
    let client = Client::connect_to(proxy.address()).unwrap();
    let read = RangeRequest { serializable: true, ..get("k") };
    client.call(&put("k", "secret")).unwrap();
    // Read by everybody, as long as there are no users.
    client.call(&read).unwrap();
    add_users(&client);
    let refused = client.call(&read).expect_err("nobody is no user");
    assert_eq!(refused.message, "etcdserver: user name is empty");
    let (alice, bob) = (User::new(&client, "alice"), User::new(&client, "bob"));
    for _ in 0..2 {
        assert_eq!(alice.call(&read).unwrap().kvs[0].value, "secret");
        let refused = bob.call(&read).expect_err("bob may not");
        assert_eq!((refused.code, refused.message.as_str()), (7, "etcdserver: permission denied"));
    }
    assert!(hits(&proxy) > 0.5, "alice's second read was a hit");
}
