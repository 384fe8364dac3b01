%%% Finds the other nodes and joins the tables with theirs, for as long as it runs.
%%%
%%% A backend says which nodes there are to be; discovery connects to those that are not (`ferrets_ping'), and joins each
%%% of its tables with each connected one (`ferrets_join:join/4'). It does so when it starts, when a table is added or comes back,
%%% when a node comes up, and again and again: what is joined already costs one question to the own server.
%%%
%%% It is not what holds a cluster together: if it ends, links stay as they are. It starts no tables, and joins none of
%%% which it was not told on this node. It never disconnects anybody.
%%%
%%% Guarantees. No call waits for a backend, a host or a join: all of these are done by processes of their own, and one
%%% that raises, hangs or talks rubbish is logged and tried again. A node that does not answer holds up no other. When two
%%% nodes can reach each other, and each other's peers, and one of them lists the other, their tables end joined without
%%% anybody's doing: after a start, a restart and a netsplit alike.
%%%
%%% Intervals. The backend is asked every 5 s for 5 minutes, 1 s after an error, and every 5 minutes afterwards; every 30 s
%%% if a node was lost within 10 minutes, is lost still and listed, or could not be joined. `retry_intervals' and
%%% `initial_phase' change that, for tests above all.
%%%
%%% Start it after its tables, under the same name on every node:
%%%
%%%     1> ferrets:start_link(sessions, #{}).
%%%     2> ferrets_discovery:start_link(#{name => disco, tables => [sessions], disco_file => "/etc/myapp/nodes"}).
%%%     3> ferrets_discovery:wait_for_ready(disco, 10_000).
%%%     ok
%%%
%%% A backend is a module with two functions: `init(Options)', called once when discovery starts, in its process, gives a
%%% state; `get_nodes(State)' is called in a process made for it, and may take its time. If it exports
%%% `check_options(Options)', it gets those options there that are not discovery's own, and returns what is wrong with them.
-module(ferrets_discovery).

-export([start/1, start_link/1, child_spec/1]).
-export([add_table/2, delete_table/2, get_tables/1, info/1, system_info/1, wait_for_ready/2, wait_for_get_nodes/2]).

-export_type([server/0, options/0, start_error/0, retry_type/0, get_nodes_result/0, system_info/0, not_ready/0]).

-callback init(Options :: map()) -> State :: term().
-callback get_nodes(State) -> {{ok, [node()]} | {error, term()}, State} when State :: term().
-callback check_options(Options :: map()) -> [ferrets_discovery_options:reason()].
-optional_callbacks([check_options/1]).

-type server() :: pid() | atom() | {atom(), node()} | {global, term()} | {via, module(), term()}.
-type options() :: ferrets_discovery_options:options().
-type retry_type() :: ferrets_discovery_options:retry_type().
-type start_error() :: {already_started, pid()} | [ferrets_discovery_options:reason(), ...].
-type get_nodes_result() ::
    {ok, [node()]}
    %% The backend's own reason, or what became of the process that it ran in, or what it returned in place of a result.
    | {error, term() | ferrets_tasks:failure() | {bad_backend_return, #{value := term()}}}.
%% What readiness waits for.
-type not_ready() ::
    {bad_last_get_nodes_result, not_called_yet | {error, term()}}
    | {still_waiting_for_pangs, [node()]}
    | {waiting_for_join_result, [ferrets_join_pair:pair()]}.
-type system_info() :: #{
    phase := initial | regular,
    tables := [ferrets:table()],
    nodes := [node()],
    unavailable_nodes := [node()],
    %% Why they are; `lost': they were connected before.
    unavailable_reasons := #{node() => ferrets_ping:reason() | lost},
    backend_module := module(),
    backend_state := term(),
    get_nodes_status := running | not_running,
    should_retry_get_nodes := boolean(),
    last_get_nodes_result := not_called_yet | get_nodes_result(),
    last_get_nodes_retry_type := retry_type(),
    retry_type := retry_type(),
    join_status := running | not_running,
    should_retry_join := boolean(),
    results := [ferrets_join_pair:result()],
    nodeup_timestamps := #{node() => ferrets_timeline:ms()},
    nodedown_timestamps := #{node() => ferrets_timeline:ms()},
    node_start_timestamps := #{node() => ferrets_timeline:ms()},
    start_time := ferrets_timeline:ms(),
    verify_ready := [not_ready()]
}.

%% Starts discovery. All that is wrong with the options is in the error; then nothing is started.
-spec start(options()) -> {ok, pid()} | {error, start_error()}.
start(Options) ->
    start(start, Options).

%% The same, linked to the caller, for supervisors.
-spec start_link(options()) -> {ok, pid()} | {error, start_error()}.
start_link(Options) ->
    start(start_link, Options).

-spec start(start | start_link, options()) -> {ok, pid()} | {error, start_error()}.
start(How, Options) ->
    case ferrets_discovery_options:check(Options) of
        {ok, #{name := Name} = Checked} -> gen_server:How({local, Name}, ferrets_discovery_server, Checked, []);
        {ok, Checked} -> gen_server:How(ferrets_discovery_server, Checked, []);
        {error, _} = Error -> Error
    end.

%% For a supervisor's list of children, behind the tables.
-spec child_spec(options()) -> supervisor:child_spec().
child_spec(Options) ->
    #{id => {?MODULE, maps:get(name, Options, ?MODULE)}, start => {?MODULE, start_link, [Options]}}.

%% Has a table joined from now on. It may be started later.
-spec add_table(server(), ferrets:table()) -> ok.
add_table(Server, Tab) when is_atom(Tab) ->
    gen_server:call(Server, {add_table, Tab}).

%% Has a table joined no more. Its links stay.
-spec delete_table(server(), ferrets:table()) -> ok.
delete_table(Server, Tab) when is_atom(Tab) ->
    gen_server:call(Server, {delete_table, Tab}).

-spec get_tables(server()) -> {ok, ordsets:ordset(ferrets:table())}.
get_tables(Server) ->
    gen_server:call(Server, get_tables).

%% `ferrets:info/1' of each table that runs.
-spec info(server()) -> [#{atom() => term()}].
info(Server) ->
    Servers = gen_server:call(Server, table_servers),
    lists:append([info_of(Pid) || Pid <- Servers]).

%% It may have ended since.
-spec info_of(pid()) -> [#{atom() => term()}].
info_of(Pid) ->
    try
        [ferrets:info(Pid)]
    catch
        exit:{_Reason, {gen_server, call, _}} -> []
    end.

-spec system_info(server()) -> system_info().
system_info(Server) ->
    gen_server:call(Server, system_info).

%% Waits until discovery has done what it can and the tables hold what the others have: the backend has answered, each node
%% has been connected or found unavailable, and each table is joined with each connected node that has it. A join that fails is
%% waited for until it succeeds or its node is gone; `system_info/1' says what is missing. Exits when the time is over, as
%% `gen_server:call/3' does.
-spec wait_for_ready(server(), timeout()) -> ok.
wait_for_ready(Server, Timeout) ->
    gen_server:call(Server, wait_for_ready, Timeout).

%% Waits until the backend is not being asked: at once if it is not, and for one more answer if it is to be asked again.
-spec wait_for_get_nodes(server(), timeout()) -> ok.
wait_for_get_nodes(Server, Timeout) ->
    gen_server:call(Server, wait_for_get_nodes, Timeout).
