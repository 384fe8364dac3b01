%%% Discovery's process: what happens when, in `ferrets_discovery', which says what for.
%%%
%%% It never waits. Whatever may take time is a task (`ferrets_tasks'): asking the backend, pinging a node, joining a table
%%% with a node (`ferrets_join_pair'), of which those that are to come stand in a queue (`ferrets_join_queue').
%%%
%%% Nothing depends on hearing of each event: nodes and tables that come and go have it look at once, and it looks again
%%% after each interval in any case. So a link that is lost and connected again faster than the table's server notices is joined
%%% again by the next look.
%%%
%%% Messages, besides those of its tasks and timers:
%%%
%%%     {nodeup, Node}, {nodedown, Node}         from the kernel, of visible nodes
%%%     {ferrets_started, Node, StartTime, Kind} from discovery of the same name on a connected node, when either has heard of the
%%%                                              other: when its VM was started
%%%     {'DOWN', Monitor, process, _, Reason}    a table ended, or was not there
-module(ferrets_discovery_server).

-behaviour(gen_server).

-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, code_change/3]).

-include_lib("kernel/include/logger.hrl").

%% Who takes longer to be joined than this holds up the next no more.
-define(PATIENCE_MS, 2_000).
%% For how long a lost node is taken for one that will be back soon.
-define(LOST_MS, 600_000).

-record(state, {
    options :: ferrets_discovery_options:checked(),
    phase = initial :: initial | regular,
    backend_state :: term(),
    tables :: ordsets:ordset(ferrets:table()),
    %% Monitors of the tables that run.
    monitors = #{} :: #{reference() => ferrets:table()},
    nodes = [] :: ordsets:ordset(node()),
    unavailable = #{} :: #{node() => ferrets_ping:reason() | lost},
    last_result = not_called_yet :: not_called_yet | ferrets_discovery:get_nodes_result(),
    last_retry_type = initial :: ferrets_discovery:retry_type(),
    is_again_wanted = false :: boolean(),
    timer :: reference() | undefined,
    joins = ferrets_join_queue:new() :: ferrets_join_queue:queue(),
    patience :: reference() | undefined,
    timeline = ferrets_timeline:new() :: ferrets_timeline:timeline(),
    tasks = ferrets_tasks:new() :: ferrets_tasks:tasks(label()),
    waiting_for_ready = [] :: [gen_server:from()],
    waiting_for_nodes = [] :: [gen_server:from()],
    is_told_ready = false :: boolean(),
    start_time :: ferrets_timeline:ms()
}).

-type state() :: #state{}.
-type label() :: get_nodes | {ping, node()} | {join, ferrets_join_pair:pair()}.

%% ---------------------------------------------------------------- gen_server

-spec init(ferrets_discovery_options:checked()) ->
    {ok, state(), {continue, check}} | {stop, [ferrets_discovery_options:reason()]}.
init(#{backend_module := Backend, tables := Tables, initial_phase := InitialMs} = Options) ->
    %% Tasks are linked processes.
    process_flag(trap_exit, true),
    try Backend:init(Options) of
        BackendState ->
            ok = net_kernel:monitor_nodes(true),
            _ = erlang:send_after(InitialMs, self(), enter_regular_phase),
            State = #state{options = Options, backend_state = BackendState, tables = Tables, start_time = now_ms()},
            %% Nobody will say that these are up.
            Connected = lists:foldl(fun greet/2, State, nodes()),
            {ok, lists:foldl(fun watch_table/2, Connected, Tables), {continue, check}}
    catch
        Class:Reason:Stack ->
            {stop, [{backend_init_failed, #{class => Class, reason => Reason, stacktrace => Stack}}]}
    end.

-spec handle_continue(check, state()) -> {noreply, state()}.
handle_continue(check, State) ->
    {noreply, get_nodes(State)}.

-spec handle_call(term(), gen_server:from(), state()) -> {reply, term(), state()} | {noreply, state()}.
handle_call({add_table, Tab}, _From, #state{tables = Tables} = State) ->
    case lists:member(Tab, Tables) of
        true -> {reply, ok, State};
        false -> {reply, ok, get_nodes(watch_table(Tab, State#state{tables = ordsets:add_element(Tab, Tables)}))}
    end;
handle_call({delete_table, Tab}, _From, #state{tables = Tables} = State) ->
    State1 = unwatch_table(Tab, State#state{tables = ordsets:del_element(Tab, Tables)}),
    {reply, ok, answer_ready(keep_wanted(State1))};
handle_call(get_tables, _From, State) ->
    {reply, {ok, State#state.tables}, State};
handle_call(table_servers, _From, State) ->
    {reply, [Pid || Tab <- State#state.tables, Pid <- [whereis(Tab)], is_pid(Pid)], State};
handle_call(system_info, _From, State) ->
    {reply, info_of_system(State), State};
handle_call(wait_for_ready, From, #state{waiting_for_ready = Waiting} = State) ->
    {noreply, answer_ready(State#state{waiting_for_ready = [From | Waiting]})};
handle_call(wait_for_get_nodes, From, #state{waiting_for_nodes = Waiting} = State) ->
    {noreply, answer_nodes(State#state{waiting_for_nodes = [From | Waiting]})};
handle_call(Question, From, State) ->
    log_unexpected(call, {From, Question}, State),
    {noreply, State}.

-spec handle_cast(term(), state()) -> {noreply, state()}.
handle_cast(Message, State) ->
    log_unexpected(cast, Message, State),
    {noreply, State}.

-spec handle_info(term(), state()) -> {noreply, state()}.
handle_info({timeout, Timer, check}, #state{timer = Timer} = State) ->
    {noreply, get_nodes(State#state{timer = undefined})};
handle_info({timeout, Timer, patience}, #state{patience = Timer} = State) ->
    {noreply, start_join(State#state{patience = undefined})};
handle_info({timeout, _Timer, check}, State) ->
    %% Stopped, but on its way already; `patience' likewise.
    {noreply, State};
handle_info({timeout, _Timer, patience}, State) ->
    {noreply, State};
handle_info({timeout, _Timer, {watch_table, Tab}}, State) ->
    {noreply, find_table(Tab, State)};
handle_info(enter_regular_phase, State) ->
    {noreply, State#state{phase = regular}};
handle_info({nodeup, Node}, State) ->
    {noreply, get_nodes(join([Node], State#state.tables, handle_nodeup(Node, State)))};
handle_info({nodedown, Node}, State) ->
    {noreply, get_nodes(answer_ready(handle_nodedown(Node, State)))};
handle_info({ferrets_started, Node, StartTime, Kind}, State) when is_atom(Node), is_integer(StartTime) ->
    %% It may have been started after this one greeted its node.
    _ = Kind =:= greeting andalso send_start(Node, answer, State),
    {noreply, handle_started(Node, StartTime, State)};
handle_info({'DOWN', Monitor, process, _, Reason}, #state{monitors = Monitors} = State) when is_map_key(Monitor, Monitors) ->
    {Tab, Rest} = maps:take(Monitor, Monitors),
    {noreply, find_table(Tab, handle_table_down(Tab, Reason, State#state{monitors = Rest}))};
handle_info(Message, #state{tasks = Tasks} = State) ->
    case ferrets_tasks:handle(Message, Tasks) of
        {done, Label, Outcome, Rest} ->
            {noreply, handle_task(Label, Outcome, State#state{tasks = Rest})};
        unknown ->
            log_unexpected(info, Message, State),
            {noreply, State}
    end.

-spec code_change(term(), state(), term()) -> {ok, state()}.
code_change(_OldVersion, State, _Extra) ->
    {ok, State}.

%% ---------------------------------------------------------------- which nodes there are

%% Asks the backend now, or once more when it has answered.
-spec get_nodes(state()) -> state().
get_nodes(#state{options = Options, tasks = Tasks, backend_state = BackendState} = State) ->
    case ferrets_tasks:is_running(get_nodes, Tasks) of
        true ->
            State#state{is_again_wanted = true};
        false ->
            #{backend_module := Backend, get_nodes_timeout := TimeoutMs} = Options,
            Ask = fun() -> Backend:get_nodes(BackendState) end,
            State#state{tasks = ferrets_tasks:start(get_nodes, Ask, TimeoutMs, Tasks), is_again_wanted = false}
    end.

-spec handle_task(label(), ferrets_tasks:outcome(), state()) -> state().
handle_task(get_nodes, Outcome, State) ->
    {Result, BackendState} = read_answer(Outcome, State),
    log_answer(Result, State#state.last_result),
    State1 = set_nodes(Result, State#state{last_result = Result, backend_state = BackendState}),
    answer_ready(answer_nodes(plan(State1)));
handle_task({ping, Node}, Outcome, State) ->
    answer_ready(handle_ping(Node, Outcome, State));
handle_task({join, Pair}, Outcome, #state{joins = Joins} = State) ->
    Result = ferrets_join_pair:result(Pair, Outcome),
    log_found(Result, ferrets_join_queue:latest(Pair, Joins)),
    Kept =
        case is_wanted(Pair, nodes(), State) of
            true -> Result;
            false -> unwanted
        end,
    answer_ready(start_join(State#state{joins = ferrets_join_queue:done(Pair, Kept, Joins)})).

-spec read_answer(ferrets_tasks:outcome(), state()) -> {ferrets_discovery:get_nodes_result(), BackendState :: term()}.
read_answer({ok, {{ok, Nodes}, BackendState} = Answer}, State) ->
    case is_node_list(Nodes) of
        true -> {{ok, Nodes}, BackendState};
        false -> bad_return(Answer, State)
    end;
read_answer({ok, {{error, _} = Error, BackendState}}, _State) ->
    {Error, BackendState};
read_answer({ok, Answer}, State) ->
    bad_return(Answer, State);
read_answer({error, _} = Error, State) ->
    {Error, State#state.backend_state}.

-spec bad_return(term(), state()) -> {ferrets_discovery:get_nodes_result(), BackendState :: term()}.
bad_return(Answer, State) ->
    {{error, {bad_backend_return, #{value => Answer}}}, State#state.backend_state}.

-spec is_node_list(term()) -> boolean().
is_node_list(Nodes) when length(Nodes) >= 0 -> lists:all(fun is_atom/1, Nodes);
is_node_list(_) -> false.

-spec set_nodes(ferrets_discovery:get_nodes_result(), state()) -> state().
set_nodes({error, _}, State) ->
    %% Those of before are not less true for that.
    reach_out(State);
set_nodes({ok, Found}, #state{nodes = Before, unavailable = Unavailable} = State) ->
    Nodes = lists:usort(Found),
    Nodes =:= Before orelse
        ferrets_event:tell(info, ferrets_nodes_changed, #{count => length(Nodes)}, #{
            added => Nodes -- Before, removed => Before -- Nodes
        }),
    Timeline = ferrets_timeline:forget(now_ms() - ?LOST_MS, Nodes, State#state.timeline),
    State1 = State#state{nodes = Nodes, unavailable = maps:with(Nodes, Unavailable), timeline = Timeline},
    reach_out(keep_wanted(State1)).

%% Connects to those that are not connected, and joins those that are.
-spec reach_out(state()) -> state().
reach_out(#state{nodes = Nodes, tables = Tables} = State) ->
    Connected = nodes(),
    State1 = lists:foldl(fun ping/2, State, Nodes -- [node() | Connected]),
    join([Node || Node <- Nodes, lists:member(Node, Connected)], Tables, State1).

%% When the backend is to be asked next.
-spec plan(state()) -> state().
plan(#state{is_again_wanted = true} = State) ->
    get_nodes(State);
plan(#state{options = #{retry_intervals := Intervals}, timer = Timer} = State) ->
    _ = is_reference(Timer) andalso erlang:cancel_timer(Timer),
    Type = retry_type(State),
    #{Type := Ms} = Intervals,
    State#state{timer = erlang:start_timer(Ms, self(), check), last_retry_type = Type}.

-spec retry_type(state()) -> ferrets_discovery:retry_type().
retry_type(#state{last_result = {error, _}}) ->
    after_error;
retry_type(#state{phase = initial}) ->
    initial;
retry_type(#state{timeline = Timeline, nodes = Nodes, joins = Joins}) ->
    HasLost = ferrets_timeline:has_lost(now_ms() - ?LOST_MS, Nodes, Timeline),
    case HasLost orelse ferrets_join_queue:has_unsettled(Joins) of
        true -> after_nodedown;
        false -> regular
    end.

%% A backend that fails every second is one event, until it fails otherwise or works.
-spec log_answer(ferrets_discovery:get_nodes_result(), not_called_yet | ferrets_discovery:get_nodes_result()) -> ok.
log_answer({ok, _}, {error, _}) -> ferrets_event:tell(info, ferrets_get_nodes_works, #{}, #{});
log_answer({ok, _}, _) -> ok;
log_answer(Error, Error) -> ok;
log_answer({error, Reason}, _) -> ferrets_event:tell(error, ferrets_get_nodes_failed, #{}, #{reason => Reason}).

%% ---------------------------------------------------------------- connecting

-spec ping(node(), state()) -> state().
ping(Node, #state{options = #{ping_timeout := TimeoutMs}, tasks = Tasks} = State) ->
    case ferrets_tasks:is_running({ping, Node}, Tasks) of
        true ->
            State;
        false ->
            %% After a start there is nobody to be torn from.
            Suspects =
                case ferrets_timeline:was_lost(Node, State#state.timeline) of
                    true -> State#state.nodes -- [node(), Node | nodes()];
                    false -> []
                end,
            Ping = fun() -> ferrets_ping:ping(Node, Suspects, TimeoutMs) end,
            %% It looks here, then has others look, and connects: each has limits of its own, but for a strange resolver.
            State#state{tasks = ferrets_tasks:start({ping, Node}, Ping, 20 * TimeoutMs, Tasks)}
    end.

-spec handle_ping(node(), ferrets_tasks:outcome(), state()) -> state().
handle_ping(Node, Outcome, #state{nodes = Nodes, unavailable = Unavailable} = State) ->
    Reason =
        case Outcome of
            {ok, pong} -> pong;
            {ok, {pang, Pang}} -> Pang;
            {error, _} -> no_answer
        end,
    case Reason =:= pong orelse lists:member(Node, nodes()) orelse not lists:member(Node, Nodes) of
        true ->
            State#state{unavailable = maps:remove(Node, Unavailable)};
        false ->
            maps:get(Node, Unavailable, none) =:= Reason orelse
                ferrets_event:tell(warning, ferrets_node_unreachable, #{}, #{remote_node => Node, reason => Reason}),
            State#state{unavailable = Unavailable#{Node => Reason}}
    end.

%% ---------------------------------------------------------------- nodes come and go

-spec greet(node(), state()) -> state().
greet(Node, #state{timeline = Timeline} = State) ->
    send_start(Node, greeting, State),
    {_, Timeline1} = ferrets_timeline:up(Node, now_ms(), Timeline),
    State#state{timeline = Timeline1}.

-spec send_start(node(), greeting | answer, state()) -> ok.
send_start(Node, Kind, #state{options = #{name := Name}}) ->
    _ = erlang:send({Name, Node}, {ferrets_started, node(), node_start(), Kind}, [noconnect]),
    ok;
send_start(_Node, _Kind, _State) ->
    ok.

-spec handle_nodeup(node(), state()) -> state().
handle_nodeup(Node, #state{timeline = Timeline, unavailable = Unavailable} = State) ->
    {DownMs, _} = ferrets_timeline:up(Node, now_ms(), Timeline),
    tell_node(info, ferrets_node_up, known(#{down_ms => DownMs}), #{remote_node => Node}, State),
    greet(Node, State#state{unavailable = maps:remove(Node, Unavailable)}).

-spec handle_nodedown(node(), state()) -> state().
handle_nodedown(Node, #state{timeline = Timeline, nodes = Nodes, unavailable = Unavailable, joins = Joins} = State) ->
    {UpMs, Timeline1} = ferrets_timeline:down(Node, now_ms(), Timeline),
    tell_node(warning, ferrets_node_down, known(#{up_ms => UpMs}), #{remote_node => Node}, State),
    %% It may be connected again by now: then its `nodeup' follows.
    IsMissed = lists:member(Node, Nodes) andalso not lists:member(Node, nodes()),
    State#state{
        timeline = Timeline1,
        joins = ferrets_join_queue:keep(fun({Of, _}) -> Of =/= Node end, Joins),
        unavailable = maps:merge(Unavailable, maps:from_list([{Node, lost} || IsMissed]))
    }.

%% What a node says of itself when it is connected: whether it is the same as before tells a netsplit from a restart.
-spec handle_started(node(), ferrets_timeline:ms(), state()) -> state().
handle_started(Node, StartTime, #state{timeline = Timeline} = State) ->
    {How, Timeline1} = ferrets_timeline:started(Node, StartTime, Timeline),
    case How of
        _ when How =:= new; How =:= known -> ok;
        returned -> tell_node(warning, ferrets_node_returned, #{}, #{remote_node => Node, start_time => StartTime}, State);
        restarted -> tell_node(info, ferrets_node_restarted, #{}, #{remote_node => Node, start_time => StartTime}, State)
    end,
    State#state{timeline = Timeline1}.

-spec tell_node(logger:level(), ferrets_event:what(), #{atom() => number()}, map(), state()) -> ok.
tell_node(Level, What, Numbers, Evidence, #state{start_time = StartTime}) ->
    Counts = #{alive_nodes => length(nodes()) + 1, since_start_ms => now_ms() - StartTime},
    ferrets_event:tell(Level, What, maps:merge(Counts, Numbers), Evidence).

-spec known(#{atom() => number() | undefined}) -> #{atom() => number()}.
known(Numbers) ->
    maps:filter(fun(_, Number) -> Number =/= undefined end, Numbers).

%% ---------------------------------------------------------------- tables come and go

-spec watch_table(ferrets:table(), state()) -> state().
watch_table(Tab, #state{monitors = Monitors} = State) ->
    %% One that does not run gives a `DOWN' at once.
    State#state{monitors = Monitors#{erlang:monitor(process, Tab) => Tab}}.

-spec unwatch_table(ferrets:table(), state()) -> state().
unwatch_table(Tab, #state{monitors = Monitors} = State) ->
    Gone = [Monitor || {Monitor, Of} <- maps:to_list(Monitors), Of =:= Tab],
    _ = [erlang:demonitor(Monitor, [flush]) || Monitor <- Gone],
    State#state{monitors = maps:without(Gone, Monitors)}.

%% `noproc': it was not there.
-spec handle_table_down(ferrets:table(), term(), state()) -> state().
handle_table_down(_Tab, noproc, State) ->
    State;
handle_table_down(Tab, Reason, #state{joins = Joins} = State) ->
    ferrets_event:tell(warning, ferrets_table_down, #{}, #{table => Tab, reason => Reason}),
    State#state{joins = ferrets_join_queue:keep(fun({_, Of}) -> Of =/= Tab end, Joins)}.

%% Looks for a table that is not there until it is, or is no longer wanted.
-spec find_table(ferrets:table(), state()) -> state().
find_table(Tab, #state{tables = Tables, options = #{retry_intervals := #{after_error := Ms}}} = State) ->
    IsWatched = lists:member(Tab, maps:values(State#state.monitors)),
    case {lists:member(Tab, Tables) andalso not IsWatched, whereis(Tab)} of
        {false, _} ->
            State;
        {true, undefined} ->
            _ = erlang:start_timer(Ms, self(), {watch_table, Tab}),
            State;
        {true, _} ->
            Connected = [Node || Node <- State#state.nodes, lists:member(Node, nodes())],
            join(Connected, [Tab], watch_table(Tab, State))
    end.

%% ---------------------------------------------------------------- joining

%% Has these tables joined with these nodes, as far as both are wanted. One after the other, since the first join of a table
%% mostly brings all others; but one that takes longer than we have patience for does not hold up the next.
-spec join([node()], [ferrets:table()], state()) -> state().
join(Nodes, Tables, #state{joins = Joins, patience = Patience} = State) ->
    Connected = nodes(),
    Pairs = [{Node, Tab} || Tab <- Tables, Node <- Nodes, is_wanted({Node, Tab}, Connected, State)],
    State1 = State#state{joins = ferrets_join_queue:offer(Pairs, Joins)},
    case Patience of
        %% Either none is under way, or those that are have had their time.
        undefined -> start_join(State1);
        _ -> State1
    end.

-spec start_join(state()) -> state().
start_join(#state{joins = Joins, tasks = Tasks, patience = Patience} = State) ->
    _ = is_reference(Patience) andalso erlang:cancel_timer(Patience),
    case ferrets_join_queue:next(Joins) of
        empty ->
            State#state{patience = undefined};
        {Pair, Joins1} ->
            State#state{
                joins = Joins1,
                patience = erlang:start_timer(?PATIENCE_MS, self(), patience),
                tasks = ferrets_tasks:start({join, Pair}, fun() -> ferrets_join_pair:run(Pair) end, infinity, Tasks)
            }
    end.

%% Forgets joins with nodes that are not connected or listed, and of tables that are not ours any more.
-spec keep_wanted(state()) -> state().
keep_wanted(#state{joins = Joins} = State) ->
    Connected = nodes(),
    State#state{joins = ferrets_join_queue:keep(fun(Pair) -> is_wanted(Pair, Connected, State) end, Joins)}.

-spec is_wanted(ferrets_join_pair:pair(), Connected :: [node()], state()) -> boolean().
is_wanted({Node, Tab}, Connected, #state{nodes = Nodes, tables = Tables}) ->
    lists:member(Node, Nodes) andalso lists:member(Node, Connected) andalso lists:member(Tab, Tables).

%% ---------------------------------------------------------------- who waits

-spec answer_nodes(state()) -> state().
answer_nodes(#state{waiting_for_nodes = Waiting, tasks = Tasks} = State) ->
    case ferrets_tasks:is_running(get_nodes, Tasks) of
        true ->
            State;
        false ->
            reply_all(Waiting),
            State#state{waiting_for_nodes = []}
    end.

-spec answer_ready(state()) -> state().
answer_ready(#state{waiting_for_ready = [], is_told_ready = true} = State) ->
    State;
answer_ready(#state{waiting_for_ready = Waiting, is_told_ready = IsTold} = State) ->
    case verify_ready(State) of
        [] ->
            IsTold orelse tell_node(info, ferrets_ready, #{}, #{tables => State#state.tables}, State),
            reply_all(Waiting),
            State#state{waiting_for_ready = [], is_told_ready = true};
        _ ->
            State
    end.

-spec reply_all([gen_server:from()]) -> ok.
reply_all(Waiting) ->
    lists:foreach(fun(From) -> gen_server:reply(From, ok) end, Waiting).

-spec verify_ready(state()) -> [ferrets_discovery:not_ready()].
verify_ready(#state{nodes = Nodes, unavailable = Unavailable, tables = Tables, joins = Joins} = State) ->
    Connected = nodes(),
    Pinged = Nodes -- [node() | Connected ++ maps:keys(Unavailable)],
    Pairs = [{Node, Tab} || Node <- Nodes, lists:member(Node, Connected), Tab <- Tables],
    Joining = [Pair || Pair <- Pairs, not ferrets_join_queue:is_settled(Pair, Joins)],
    [{bad_last_get_nodes_result, Result} || Result <- [State#state.last_result], not is_ok(Result)] ++
        [{still_waiting_for_pangs, Pinged} || Pinged =/= []] ++
        [{waiting_for_join_result, Joining} || Joining =/= []].

-spec is_ok(not_called_yet | ferrets_discovery:get_nodes_result()) -> boolean().
is_ok({ok, _}) -> true;
is_ok(_) -> false.

-spec info_of_system(state()) -> ferrets_discovery:system_info().
info_of_system(#state{options = #{backend_module := Backend}, tasks = Tasks, joins = Joins} = State) ->
    maps:merge(ferrets_timeline:info(State#state.timeline), #{
        phase => State#state.phase,
        tables => State#state.tables,
        nodes => State#state.nodes,
        unavailable_nodes => lists:sort(maps:keys(State#state.unavailable)),
        unavailable_reasons => State#state.unavailable,
        backend_module => Backend,
        backend_state => State#state.backend_state,
        get_nodes_status => status(ferrets_tasks:is_running(get_nodes, Tasks)),
        should_retry_get_nodes => State#state.is_again_wanted,
        last_get_nodes_result => State#state.last_result,
        last_get_nodes_retry_type => State#state.last_retry_type,
        retry_type => retry_type(State),
        join_status => status(not ferrets_join_queue:is_idle(Joins)),
        should_retry_join => ferrets_join_queue:is_again_wanted(Joins),
        results => ferrets_join_queue:results(Joins),
        start_time => State#state.start_time,
        verify_ready => verify_ready(State)
    }).

%% Joins log themselves; this is told once for as long as it is so.
-spec log_found(ferrets_join_pair:result(), ferrets_join_pair:result() | undefined) -> ok.
log_found(Same, Same) -> ok;
log_found(#{what := join_result}, _) -> ok;
log_found(Result, _) -> ferrets_event:tell(info, ferrets_table_not_found, #{}, maps:remove(what, Result)).

-spec log_unexpected(call | cast | info, term(), state()) -> ok.
log_unexpected(Kind, Message, #state{options = Options}) ->
    Name = maps:get(name, Options, self()),
    ?LOG_WARNING(#{what => ferrets_unexpected_message, discovery => Name, kind => Kind, message => Message}).

-spec now_ms() -> ferrets_timeline:ms().
now_ms() ->
    erlang:system_time(millisecond).

%% The VM's start, not this process's: it may have been restarted by its supervisor.
-spec node_start() -> ferrets_timeline:ms().
node_start() ->
    erlang:convert_time_unit(erlang:system_info(start_time) + erlang:time_offset(), native, millisecond).

-spec status(boolean()) -> running | not_running.
status(true) -> running;
status(false) -> not_running.
