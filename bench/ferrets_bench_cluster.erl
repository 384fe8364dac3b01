%%% Tables that several nodes share, of every contender that can do that.
%%%
%%% Leads the nodes from outside; what it has them do is exported as well.
-module(ferrets_bench_cluster).

-export([start/1, stop/1, connect/1, open/3, join/3, add/4, wire/1]).
%% Run inside the nodes.
-export([open_here/2, server/1, join_here/3, connect_here/1, start_mnesia/1, share_in_mnesia/2, copy_in_mnesia/1]).

-type nodes() :: [ferrets_bench_node:bench_node()].

-import(ferrets_bench_node, [call/4, name/1]).

%% Nodes that are connected with one another.
-spec start([atom()]) -> nodes().
start(Labels) ->
    Nodes = [ferrets_bench_node:start_named(Label) || Label <- Labels],
    ok = connect(Nodes),
    Nodes.

-spec stop(nodes()) -> ok.
stop(Nodes) ->
    lists:foreach(fun ferrets_bench_node:stop/1, Nodes).

-spec connect(nodes()) -> ok.
connect(Nodes) ->
    lists:foreach(fun(Node) -> ok = call(Node, ?MODULE, connect_here, [[name(N) || N <- Nodes]]) end, Nodes).

%% A table that all of the nodes share.
-spec open(ferrets_bench_table:contender(), nodes(), atom()) -> ok.
open(Mnesia, [First | Others] = Nodes, Tab) when Mnesia =:= mnesia; Mnesia =:= mnesia_sync ->
    ok = call(First, ?MODULE, start_mnesia, [[]]),
    [ok = call(Node, ?MODULE, start_mnesia, [[name(First)]]) || Node <- Others],
    call(First, ?MODULE, share_in_mnesia, [Tab, [name(Node) || Node <- Nodes]]);
open(Contender, [First | Others] = Nodes, Tab) ->
    [ok = call(Node, ?MODULE, open_here, [Contender, Tab]) || Node <- Nodes],
    [ok = join(Contender, {Node, Tab}, {First, Tab}) || Node <- Others],
    ok.

%% A fresh node comes to a cluster that has the table. Returns when the node holds it.
-spec add(ferrets_bench_table:contender(), ferrets_bench_node:bench_node(), ferrets_bench_node:bench_node(), atom()) -> ok.
add(mnesia, Fresh, Node, Tab) ->
    ok = call(Fresh, ?MODULE, start_mnesia, [[name(Node)]]),
    call(Fresh, ?MODULE, copy_in_mnesia, [Tab]);
add(Contender, Fresh, Node, Tab) ->
    ok = call(Fresh, ?MODULE, open_here, [Contender, Tab]),
    join(Contender, {Fresh, Tab}, {Node, Tab}).

-spec join(ferrets_bench_table:contender(), Joins, Joined) -> ok when
    Joins :: {ferrets_bench_node:bench_node(), atom()}, Joined :: {ferrets_bench_node:bench_node(), atom()}.
join(Contender, {Node, Tab}, {Other, OtherTab}) ->
    call(Node, ?MODULE, join_here, [Contender, Tab, call(Other, ?MODULE, server, [OtherTab])]).

%% What all of them together have sent and received.
-spec wire(nodes()) -> ferrets_bench_node:wire().
wire(Nodes) ->
    lists:foldl(
        fun(Wire, Sum) -> maps:map(fun(Key, Value) -> Value + maps:get(Key, Wire) end, Sum) end,
        #{messages_sent => 0, bytes_sent => 0, bytes_received => 0},
        [call(Node, ferrets_bench_node, wire, []) || Node <- Nodes]
    ).

%% ---------------------------------------------------------------- inside the nodes

-spec connect_here([node()]) -> ok.
connect_here(Names) ->
    lists:foreach(fun(Name) -> true = net_kernel:connect_node(Name) end, Names -- [node()]).

-spec open_here(ferrets_bench_table:contender(), atom()) -> ok.
open_here(Contender, Tab) ->
    ferrets_bench_table:open(Contender, Tab, ordered_set).

-spec server(atom()) -> pid() | undefined.
server(Tab) -> whereis(Tab).

-spec join_here(ferrets_bench_table:contender(), atom(), pid()) -> ok.
join_here(ferrets, Tab, Remote) -> ferrets_join:join(bench, #{}, whereis(Tab), Remote);
join_here(cets, Tab, Remote) -> cets_join:join(bench, #{}, whereis(Tab), Remote).

%% Without a schema on disk. The first node starts alone; the others take its schema.
-spec start_mnesia([node()]) -> ok.
start_mnesia(Others) ->
    ok = mnesia:start(),
    %% It may find more of them than it was told of.
    {ok, Found} = mnesia:change_config(extra_db_nodes, Others),
    [] = Others -- Found,
    ok.

-spec share_in_mnesia(atom(), [node()]) -> ok.
share_in_mnesia(Tab, Names) ->
    {atomic, ok} = mnesia:create_table(Tab, [
        {type, ordered_set}, {ram_copies, Names}, {attributes, [key, value]}, {record_name, record}
    ]),
    ok.

-spec copy_in_mnesia(atom()) -> ok.
copy_in_mnesia(Tab) ->
    {atomic, ok} = mnesia:add_table_copy(Tab, node(), ram_copies),
    ok.
