%%% The demo's nodes: each an operating system process of its own, connected to the others over loopback.
%%%
%%% They are led over their standard input and output (`peer'), so that a node can be told what to do while it is cut
%%% off from the others, and ends by itself when the demo does, however that ends. The demo is no part of the cluster.
%%% They find each other through an epmd of the demo's own, so that two demos may run at once.
-module(ferrets_demo_node).

-export([start_epmd/0, start/1, stop/1, name/1, os_pid/1, call/4, kill/1, cut/2, mend/2]).
%% Run inside the nodes.
-export([use_cookie/2, disconnect/1]).

-export_type([demo_node/0]).

-opaque demo_node() :: #{label := atom(), peer := pid(), node := node(), os_pid := string()}.

-define(COOKIE, ferrets_demo).
-define(CALL_TIMEOUT_MS, 60_000).

%% Must come before the first node. It ends with the demo: that closes its shell's standard input.
-spec start_epmd() -> ok.
start_epmd() ->
    {ok, Socket} = gen_tcp:listen(0, [{ip, {127, 0, 0, 1}}]),
    {ok, Number} = inet:port(Socket),
    ok = gen_tcp:close(Socket),
    Script = "\"$0\" -port \"$1\" -address 127.0.0.1 >/dev/null 2>&1 & trap '' INT TERM HUP; cat >/dev/null; kill $!",
    Args = ["-c", Script, os:find_executable("epmd"), integer_to_list(Number)],
    _ = open_port({spawn_executable, "/bin/sh"}, [{args, Args}]),
    %% The nodes inherit it.
    true = os:putenv("ERL_EPMD_PORT", integer_to_list(Number)),
    true = os:putenv("ERL_EPMD_ADDRESS", "127.0.0.1"),
    await_listener(Number, 100).

-spec await_listener(inet:port_number(), non_neg_integer()) -> ok.
await_listener(Number, Tries) when Tries > 0 ->
    case gen_tcp:connect({127, 0, 0, 1}, Number, []) of
        {ok, Socket} ->
            gen_tcp:close(Socket);
        {error, econnrefused} ->
            timer:sleep(20),
            await_listener(Number, Tries - 1)
    end.

%% The label may be used again for a node that comes back.
-spec start(Label :: atom()) -> demo_node().
start(Label) ->
    Log = filename:absname(io_lib:format("_build/demo/~s.log", [Label])),
    Handler = io_lib:format(
        "[{handler, default, logger_std_h, #{config => #{file => ~p}, formatter => {logger_formatter, #{}}}}]", [Log]
    ),
    {ok, Peer, Node} = peer:start_link(#{
        name => lists:concat([Label, "_", os:getpid()]),
        host => "127.0.0.1",
        longnames => true,
        connection => standard_io,
        args =>
            ["-setcookie", atom_to_list(?COOKIE), "-start_epmd", "false"] ++
            ["-kernel", "inet_dist_use_interface", "{127,0,0,1}", "logger", lists:flatten(Handler)] ++
            %% `global' would cut amber from birch too when they lose cedar at different moments.
            ["-kernel", "prevent_overlapping_partitions", "false"] ++
            lists:append([["-pa", Dir] || Dir <- code:get_path(), is_ours(Dir)])
    }),
    #{label => Label, peer => Peer, node => Node, os_pid => peer:call(Peer, os, getpid, [])}.

-spec is_ours(file:filename()) -> boolean().
is_ours(Dir) ->
    not lists:prefix(code:lib_dir(), Dir) andalso Dir =/= ".".

-spec stop(demo_node()) -> ok.
stop(#{peer := Peer}) -> peer:stop(Peer).

-spec name(demo_node()) -> node().
name(#{node := Node}) -> Node.

-spec os_pid(demo_node()) -> string().
os_pid(#{os_pid := OsPid}) -> OsPid.

-spec call(demo_node(), module(), atom(), [term()]) -> term().
call(#{peer := Peer}, Module, Function, Args) ->
    peer:call(Peer, Module, Function, Args, ?CALL_TIMEOUT_MS).

%% No goodbye: the operating system ends the process at once.
-spec kill(demo_node()) -> ok.
kill(#{os_pid := OsPid, peer := Peer}) ->
    Monitor = monitor(process, Peer),
    [] = os:cmd("kill -9 " ++ OsPid),
    receive
        {'DOWN', Monitor, process, Peer, _} -> ok
    end.

%% Cuts every connection between the two sides and keeps it cut: a changed cookie turns away who calls, so each side
%% changes it, and to something else than the other.
-spec cut([demo_node()], [demo_node()]) -> ok.
cut(Left, Right) ->
    Pairs = [{A, B} || A <- Left, B <- Right] ++ [{B, A} || A <- Left, B <- Right],
    [call(A, ?MODULE, use_cookie, [name(B), list_to_atom("cut_by_" ++ atom_to_list(name(A)))]) || {A, B} <- Pairs],
    [call(A, ?MODULE, disconnect, [name(B)]) || {A, B} <- Pairs],
    ok.

%% The two sides may connect again. Nothing does so yet.
-spec mend([demo_node()], [demo_node()]) -> ok.
mend(Left, Right) ->
    [
        begin
            call(A, ?MODULE, use_cookie, [name(B), ?COOKIE]),
            call(B, ?MODULE, use_cookie, [name(A), ?COOKIE])
        end
     || A <- Left, B <- Right
    ],
    ok.

-spec use_cookie(node(), atom()) -> ok.
use_cookie(Node, Cookie) ->
    true = erlang:set_cookie(Node, Cookie),
    ok.

-spec disconnect(node()) -> ok.
disconnect(Node) ->
    _ = erlang:disconnect_node(Node),
    ok.
