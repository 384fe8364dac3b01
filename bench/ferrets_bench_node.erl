%%% The nodes under test: each an operating system process of its own, led over its standard input and output.
%%%
%%% So the node that leads is no part of any cluster, and a node's end leaves nothing behind. No node spins: schedulers that
%%% wait busily would take two cores from one another when several nodes share them.
%%%
%%% Nodes that are to see each other have names, and find each other on loopback through an epmd that is the benchmark's
%%% own.
-module(ferrets_bench_node).

-export([start_epmd/0, start/0, start_named/1, stop/1, name/1, call/3, call/4]).
%% Run inside the nodes.
-export([resident_bytes/0, cpu_us/0, wire/0, settle/0]).

-export_type([bench_node/0, wire/0]).

-opaque bench_node() :: #{peer := pid(), node := node()}.
%% What has gone through the connections to other nodes that are up.
-type wire() :: #{messages_sent := non_neg_integer(), bytes_sent := non_neg_integer(), bytes_received := non_neg_integer()}.

-define(TIMEOUT_MS, 3_600_000).
-define(NO_SPINNING, ["+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"]).

%% Must come before the first node with a name. It ends with the benchmark: that closes its shell's standard input.
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
    await_listener(Number, 250).

-spec await_listener(inet:port_number(), non_neg_integer()) -> ok.
await_listener(Number, Tries) when Tries > 0 ->
    case gen_tcp:connect({127, 0, 0, 1}, Number, []) of
        {ok, Socket} ->
            gen_tcp:close(Socket);
        {error, econnrefused} ->
            timer:sleep(20),
            await_listener(Number, Tries - 1)
    end.

%% A node that no other can see.
-spec start() -> bench_node().
start() ->
    start_peer(#{}, []).

%% A node that others can see. The label must not be in use.
-spec start_named(atom()) -> bench_node().
start_named(Label) ->
    start_peer(
        #{name => lists:concat([Label, "_", os:getpid()]), host => "127.0.0.1", longnames => true},
        ["-setcookie", "ferrets_bench", "-start_epmd", "false"] ++
            ["-kernel", "inet_dist_use_interface", "{127,0,0,1}", "prevent_overlapping_partitions", "false"]
    ).

-spec start_peer(map(), [string()]) -> bench_node().
start_peer(Options, Args) ->
    {ok, Peer, Node} = peer:start_link(Options#{
        connection => standard_io,
        args => ?NO_SPINNING ++ Args ++ ["-kernel", "logger_level", "error", "-pa" | our_paths()]
    }),
    #{peer => Peer, node => Node}.

%% All that is not OTP's.
-spec our_paths() -> [file:filename()].
our_paths() ->
    [filename:absname(Dir) || Dir <- code:get_path(), Dir =/= ".", not lists:prefix(code:lib_dir(), Dir)].

-spec stop(bench_node()) -> ok.
stop(#{peer := Peer}) -> peer:stop(Peer).

-spec name(bench_node()) -> node().
name(#{node := Node}) -> Node.

-spec call(bench_node(), module(), atom(), [term()]) -> term().
call(#{peer := Peer}, Module, Function, Args) ->
    peer:call(Peer, Module, Function, Args, ?TIMEOUT_MS).

-spec call(bench_node(), fun((...) -> Result), [term()]) -> Result.
call(Node, Fun, Args) ->
    call(Node, erlang, apply, [Fun, Args]).

%% ---------------------------------------------------------------- inside the nodes

%% What the operating system counts as this VM's memory, by Linux's account of it.
-spec resident_bytes() -> pos_integer() | unknown.
resident_bytes() ->
    case file:read_file("/proc/self/status") of
        {ok, Status} ->
            {match, [KB]} = re:run(Status, "VmRSS:\\s+(\\d+)", [{capture, all_but_first, list}]),
            list_to_integer(KB) * 1024;
        {error, _} ->
            unknown
    end.

%% The processor time that this VM has used, in microseconds; the VM counts milliseconds.
-spec cpu_us() -> non_neg_integer().
cpu_us() ->
    {Ms, _} = erlang:statistics(runtime),
    Ms * 1000.

-spec wire() -> wire().
wire() ->
    Counters = [send_cnt, send_oct, recv_oct],
    Ports = [Port || {_, Port} <- erlang:system_info(dist_ctrl)],
    Stats = [maps:from_list(Stat) || Port <- Ports, {ok, Stat} <- [inet:getstat(Port, Counters)]],
    Sum = fun(Counter) -> lists:sum([maps:get(Counter, Stat) || Stat <- Stats]) end,
    #{messages_sent => Sum(send_cnt), bytes_sent => Sum(send_oct), bytes_received => Sum(recv_oct)}.

%% Has every process collect its garbage, so that memory counted next is that of tables.
-spec settle() -> ok.
settle() ->
    _ = [erlang:garbage_collect(Pid) || Pid <- erlang:processes()],
    timer:sleep(300).
