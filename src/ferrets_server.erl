%%% A table's server: one process per table per node, registered under the table's name.
%%%
%%% It carries bytes between the native library and the servers on other nodes, monitors them, answers callers and has
%%% users' callbacks called. It decides nothing: what a message means, what is to be sent and who may be answered is said
%%% by the library (`ferrets_nif'), as effects, which are carried out here in their order. Records never pass through it,
%%% but for those that callers on other nodes write.
%%%
%%% The table lives and dies with this process: the library drops it when the process ends, however it ends, and the
%%% name can be used again at once. The process does not trap exits and never waits for another one.
%%%
%%% Messages:
%%%
%%%     {ferrets_link, From, Head, Body}    from a peer's server, for the library
%%%     ferrets_flush                       from the library, in a writer's process: there is something to ship
%%%     {ferrets_request, Tag, Question}    from anybody; the answer `{[alias | Tag], Answer}' goes to `Tag', often later
%%%     {ferrets_detour, Tag, Op, List}     from the library, in a writer's process: the table is paused
%%%     {ferrets_decided, Question, Record} from a conflict handler's process
%%%     ferrets_backlog                     to itself: go on with the writes that callers cannot do themselves
%%%
%%% A peer's messages arrive in their order or not at all. After a netsplit those of the old link may still come in
%%% from a pid that is then taken for a new peer; the library tells them from a new link's and drops them.
-module(ferrets_server).

-behaviour(gen_server).

-export([start/3]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3]).

-export_type([start_error/0]).

-include_lib("kernel/include/logger.hrl").

-define(TICK_MS, 1000).
%% Room for what a hundred messages leave behind. A heap of the usual size is collected after a few.
-define(HEAP_WORDS, 8192).
-define(IS_LINK_MESSAGE(From, Head, Body), is_pid(From), From =/= self(), is_binary(Head), is_binary(Body)).
%% How many lost nodes `info/1' remembers.
-define(HISTORY_MAX, 100).

-record(state, {
    tab :: atom(),
    handle :: ferrets_nif:handle(),
    options :: ferrets_options:checked(),
    %% A monitor of it.
    witness :: reference(),
    peers = ferrets_peers:new() :: ferrets_peers:peers(),
    %% What came while a message was not done, and has to wait.
    waiting = [] :: [{waits | stands_aside, message() | down()}],
    backlog = ferrets_backlog:new() :: ferrets_backlog:backlog(),
    %% Who pauses the table: monitors of them.
    pauses = #{} :: #{reference() => pid()},
    %% Nodes whose servers went, the latest first.
    node_down_history = [] :: [node()],
    counters = ferrets_counters:new() :: ferrets_counters:counters(),
    %% How much of what is told by the second has been told.
    told = #{} :: #{ferrets_counters:name() => non_neg_integer()},
    tick :: reference()
}).

-type state() :: #state{}.
-type message() :: {ferrets_link, From :: pid(), Head :: binary(), Body :: binary()}.
-type down() :: {'DOWN', reference(), process, pid(), Reason :: term()}.
-type start_error() :: {already_started, pid()} | [ferrets_options:reason(), ...].

%% Checks the options and starts a server.
-spec start(start | start_link, atom(), ferrets_options:options()) -> {ok, pid()} | {error, start_error()}.
start(How, Tab, Options) ->
    case ferrets_options:check(Options) of
        {ok, Checked} -> gen_server:How({local, Tab}, ?MODULE, {Tab, Checked}, [{spawn_opt, [{min_heap_size, ?HEAP_WORDS}]}]);
        {error, _} = Error -> Error
    end.

%% ---------------------------------------------------------------- gen_server

-spec init({atom(), ferrets_options:checked()}) -> {ok, state()} | {stop, [ferrets_options:reason()]}.
init({Tab, #{type := Type, keypos := KeyPos} = Options}) ->
    case ferrets_nif:create(Tab, Type, KeyPos, settings(Options)) of
        {ok, Handle} ->
            Witness = ferrets_witness:start(Handle),
            {ok, #state{tab = Tab, handle = Handle, options = Options, witness = Witness, tick = start_tick()}};
        {error, Reason} -> {stop, [{create_failed, Reason}]}
    end.

-spec settings(ferrets_options:checked()) -> ferrets_nif:settings().
settings(Options) ->
    #{
        tombstone_ttl := TombstoneTtl,
        stall_timeout := StallTimeout,
        compare_interval := CompareInterval,
        on_nodedown := OnNodedown
    } = Options,
    #{
        node => atom_to_binary(node()),
        tombstone_ttl_ms => TombstoneTtl,
        stall_timeout_ms => StallTimeout,
        asks_conflicts => is_map_key(handle_conflict, Options),
        drops_owned => OnNodedown =:= delete_owned,
        compare_interval_ms => CompareInterval
    }.

-spec handle_call(term(), gen_server:from(), state()) -> {reply, term(), state()} | {noreply, state()}.
handle_call(ping, _From, State) ->
    {reply, pong, State};
handle_call(table_name, _From, State) ->
    {reply, {ok, State#state.tab}, State};
handle_call(other_pids, _From, State) ->
    {reply, ferrets_peers:linked(State#state.peers), State};
handle_call(leader, _From, State) ->
    #{leader := Leader} = ferrets_nif:status(State#state.handle),
    {reply, server_pid(Leader, State), State};
handle_call({set_leader, IsLeader}, _From, State) when is_boolean(IsLeader) ->
    {reply, ok, run(ferrets_nif:force_leader(State#state.handle, IsLeader), State)};
handle_call(digest, _From, State) ->
    {reply, ferrets_nif:digest(State#state.handle), State};
handle_call(sync, _From, State) ->
    {reply, ok, run(ferrets_nif:sync(State#state.handle), State)};
handle_call(pulls, _From, State) ->
    #{pulls := Pulls} = ferrets_nif:status(State#state.handle),
    {reply, Pulls, State};
handle_call(pause, {Pid, _}, State) ->
    Pause = erlang:monitor(process, Pid),
    {reply, Pause, set_pauses((State#state.pauses)#{Pause => Pid}, State)};
handle_call({unpause, Pause}, _From, #state{pauses = Pauses} = State) when is_map_key(Pause, Pauses) ->
    true = erlang:demonitor(Pause, [flush]),
    {reply, ok, set_pauses(maps:remove(Pause, Pauses), State)};
handle_call({unpause, _}, _From, State) ->
    {reply, {error, unknown_pause_monitor}, State};
handle_call(info, _From, State) ->
    {reply, info(State), State};
handle_call(dump, From, #state{tab = Tab} = State) ->
    %% In a process of its own, because it takes as long as the table is big. If the table goes meanwhile, this server
    %% has gone before, and its monitor ends the call.
    _ = spawn(fun() -> gen_server:reply(From, {ok, ferrets_walk:to_list(Tab)}) end),
    {noreply, State};
handle_call(Question, From, State) ->
    log_unexpected(call, {From, Question}, State),
    {noreply, State}.

-spec handle_cast(term(), state()) -> {noreply, state()}.
handle_cast(Message, State) ->
    log_unexpected(cast, Message, State),
    {noreply, State}.

-spec handle_info(term(), state()) -> {noreply, state()}.
handle_info({ferrets_link, From, Head, Body} = Message, State) when ?IS_LINK_MESSAGE(From, Head, Body) ->
    {noreply, take_in(Message, State)};
handle_info(ferrets_flush, State) ->
    {noreply, flush(State)};
handle_info({ferrets_request, Tag, Question}, State) when is_reference(Tag) ->
    {noreply, handle_request(Question, Tag, State)};
handle_info({ferrets_detour, Tag, Op, List}, #state{backlog = Backlog} = State) ->
    {noreply, add_to_backlog(ferrets_backlog:add_detour(Tag, Op, List, Backlog), State)};
handle_info({ferrets_decided, Question, Record}, State) ->
    {noreply, run(ferrets_nif:decide(State#state.handle, Question, Record), State)};
handle_info({'DOWN', _, process, _, _} = Down, State) ->
    {noreply, handle_down(Down, State)};
handle_info(ferrets_backlog, State) ->
    {noreply, work_backlog(State)};
handle_info({timeout, Tick, tick}, #state{tick = Tick} = State) ->
    {noreply, tick(State#state{tick = start_tick()})};
handle_info(Message, State) ->
    log_unexpected(info, Message, State),
    {noreply, State}.

-spec terminate(term(), state()) -> ok.
terminate(_Reason, State) ->
    ferrets_nif:close(State#state.handle).

-spec code_change(term(), state(), term()) -> {ok, state()}.
code_change(_OldVersion, State, _Extra) ->
    {ok, State}.

-spec start_tick() -> reference().
start_tick() ->
    erlang:start_timer(?TICK_MS, self(), tick).

-spec log_unexpected(call | cast | info, term(), state()) -> ok.
log_unexpected(Kind, Message, #state{tab = Tab}) ->
    ?LOG_WARNING(#{what => ferrets_unexpected_message, table => Tab, kind => Kind, message => Message}).

%% ---------------------------------------------------------------- requests

-spec handle_request(term(), ferrets_request:id(), state()) -> state().
handle_request({write, Op, Argument}, Tag, #state{backlog = Backlog} = State) when
    Op =:= insert; Op =:= insert_many; Op =:= delete; Op =:= delete_many; Op =:= delete_objects
->
    add_to_backlog(ferrets_backlog:add(Tag, Op, Argument, Backlog), State);
handle_request({ask, Operation, Record}, Tag, #state{tab = Tab} = State) ->
    try
        wait = ferrets_nif:ask(Tab, Operation, Record, Tag)
    catch
        error:badarg -> ferrets_request:answer(Tag, {ferrets_refused, badarg, self()})
    end,
    State;
handle_request(digest, Tag, State) ->
    ferrets_request:answer(Tag, ferrets_nif:digest(State#state.handle)),
    State;
handle_request(leader, Tag, State) ->
    #{leader := Leader} = ferrets_nif:status(State#state.handle),
    ferrets_request:answer(Tag, server_pid(Leader, State)),
    State;
handle_request(barrier, Tag, State) ->
    run(ferrets_nif:barrier(State#state.handle, Tag), State);
handle_request(ping, Tag, State) ->
    ferrets_request:answer(Tag, pong),
    State;
handle_request(nodes, Tag, State) ->
    ferrets_request:answer(Tag, linked_nodes(State)),
    State;
handle_request(links, Tag, State) ->
    ferrets_request:answer(Tag, ferrets_peers:all(State#state.peers)),
    State;
handle_request({link, Pid}, Tag, State) when is_pid(Pid), Pid =/= self() ->
    {Peer, State1} = intern(Pid, State),
    case ferrets_peers:state(Peer, State1#state.peers) of
        synced ->
            ferrets_request:answer(Tag, ok),
            State1;
        _ ->
            State2 = State1#state{peers = ferrets_peers:wait(Peer, Tag, State1#state.peers)},
            run(ferrets_nif:peer_up(State2#state.handle, Peer), State2)
    end;
handle_request(Question, Tag, State) ->
    log_unexpected(info, {ferrets_request, Tag, Question}, State),
    State.

-spec add_to_backlog(ferrets_backlog:backlog(), state()) -> state().
add_to_backlog(Backlog, #state{backlog = Before} = State) ->
    State1 = State#state{backlog = Backlog},
    case ferrets_backlog:is_empty(Before) of
        true -> work_backlog(State1);
        %% A `ferrets_backlog' is under way, or the end of a pause will send one.
        false -> State1
    end.

-spec set_pauses(#{reference() => pid()}, state()) -> state().
set_pauses(Pauses, #state{handle = Handle, pauses = Before} = State) ->
    State1 = State#state{pauses = Pauses},
    case {map_size(Before), map_size(Pauses)} of
        {0, 1} ->
            work(ferrets_nif:pause(Handle, true), State1);
        {1, 0} ->
            self() ! ferrets_backlog,
            work(ferrets_nif:pause(Handle, false), State1);
        _ ->
            State1
    end.

-spec work_backlog(state()) -> state().
work_backlog(#state{pauses = Pauses} = State) when map_size(Pauses) > 0 ->
    State;
work_backlog(#state{tab = Tab, backlog = Backlog} = State) ->
    case ferrets_backlog:is_empty(Backlog) of
        true ->
            State;
        false ->
            {Answer, Rest} = ferrets_backlog:work(Tab, Backlog),
            _ = ferrets_backlog:is_empty(Rest) orelse (self() ! ferrets_backlog),
            answer_write(Answer, State),
            State#state{backlog = Rest}
    end.

-spec answer_write(ferrets_backlog:answer(), state()) -> ok.
answer_write({later, IsDetour}, State) ->
    end_detour(IsDetour, State);
answer_write({answer, Tag, ok, IsDetour}, State) ->
    ferrets_request:answer(Tag, ok),
    end_detour(IsDetour, State);
answer_write({answer, Tag, badarg, IsDetour}, State) ->
    ferrets_request:answer(Tag, {ferrets_refused, badarg, self()}),
    end_detour(IsDetour, State).

-spec end_detour(boolean(), state()) -> ok.
end_detour(false, _State) ->
    ok;
end_detour(true, State) ->
    [] = ferrets_nif:end_detour(State#state.handle),
    ok.

%% ---------------------------------------------------------------- effects

-spec take_in(message(), state()) -> state().
take_in({ferrets_link, From, Head, Body}, State) ->
    {Peer, State1} = intern(From, State),
    work(ferrets_nif:message(State1#state.handle, Peer, Head, Body), State1).

%% Follows up a peer's message to its end, before any other message but those that may overtake it: so no write waits until
%% a large message of a sync is merged. What the runtime says of a peer keeps its place among what the peer has sent, lest
%% the end of an old link be taken for that of a new one.
-spec work({done | more, [ferrets_nif:effect()]}, state()) -> state().
work({done, Effects}, State) ->
    work_waiting(run(Effects, State));
work({more, Effects}, State) ->
    #state{handle = Handle} = State1 = run(Effects, State),
    receive
        {ferrets_link, From, Head, Body} = Message when ?IS_LINK_MESSAGE(From, Head, Body) ->
            overtake(Message, State1);
        {'DOWN', _, process, _, _} = Down ->
            wait(waits, Down, State1);
        ferrets_flush ->
            flush(State1)
    after 0 ->
        work(ferrets_nif:work(Handle), State1)
    end.

-spec work_waiting(state()) -> state().
work_waiting(#state{waiting = []} = State) ->
    State;
work_waiting(#state{waiting = [{_Turn, {'DOWN', _, process, _, _} = Down} | Rest]} = State) ->
    work_waiting(handle_down(Down, State#state{waiting = Rest}));
work_waiting(#state{waiting = [{_Turn, Message} | Rest]} = State) ->
    take_in(Message, State#state{waiting = Rest}).

-spec overtake(message(), state()) -> state().
overtake({ferrets_link, From, Head, Body} = Message, #state{handle = Handle, waiting = Waiting} = State) ->
    IsBehind = lists:any(fun({Turn, Before}) -> {Turn, sender(Before)} =:= {waits, From} end, Waiting),
    case IsBehind of
        true ->
            wait(waits, Message, State);
        false ->
            {Peer, State1} = intern(From, State),
            case ferrets_nif:overtake(Handle, Peer, Head, Body) of
                Turn when is_atom(Turn) ->
                    wait(Turn, Message, State1);
                Progress ->
                    work(Progress, State1)
            end
    end.

-spec wait(waits | stands_aside, message() | down(), state()) -> state().
wait(Turn, Message, #state{handle = Handle, waiting = Waiting} = State) ->
    work(ferrets_nif:work(Handle), State#state{waiting = Waiting ++ [{Turn, Message}]}).

-spec sender(message() | down()) -> pid().
sender({ferrets_link, From, _, _}) -> From;
sender({'DOWN', _, process, Pid, _}) -> Pid.

-spec flush(state()) -> state().
flush(State) ->
    count(batches, State),
    work(ferrets_nif:flush(State#state.handle), State).

-spec tick(state()) -> state().
tick(State) ->
    case ferrets_nif:tick(State#state.handle) of
        {done, Effects} -> tell_counted(run(Effects, State));
        {more, Effects} -> tick(run(Effects, State))
    end.

-spec run([ferrets_nif:effect()], state()) -> state().
run([], State) -> State;
run([Effect | Effects], State) -> run(Effects, run_one(Effect, State)).

-spec run_one(ferrets_nif:effect(), state()) -> state().
run_one({reply, Tags}, State) ->
    answer_all(Tags, ok),
    State;
run_one({answer, Tag, Answer}, State) ->
    ferrets_request:answer(Tag, Answer),
    State;
run_one({conflict, Question, Ours, Theirs}, #state{options = Options} = State) ->
    count(conflicts_asked, State),
    ferrets_conflict:decide(Options, Question, Ours, Theirs),
    State;
run_one({wrong_leader, From, Operation, External}, #state{options = Options} = State) ->
    Record = binary_to_term(External),
    count(wrong_leader, State),
    case Options of
        #{handle_wrong_leader := Fun} ->
            Info = #{from => server_pid(From, State), op => {Operation, Record}, server => self()},
            ferrets_callback:run(handle_wrong_leader, Fun, Info);
        #{} ->
            ok
    end,
    State;
run_one({send, Peer, Head, Body}, State) ->
    send(ferrets_peers:pid(Peer, State#state.peers), Head, Body),
    State;
run_one(Effect, State) ->
    %% What the library says of a peer that is gone comes too late.
    Peer = element(2, Effect),
    case ferrets_peers:pid(Peer, State#state.peers) of
        undefined -> State;
        Pid -> change_link(Effect, Pid, State)
    end.

%% `noconnect': if the connection is lost the peer's `DOWN' is on its way, and a reconnect behind its back could let
%% this message arrive where others before it have not.
-spec send(pid() | undefined, binary(), binary()) -> ok.
send(undefined, _Head, _Body) ->
    ok;
send(Pid, Head, Body) ->
    _ = erlang:send(Pid, {ferrets_link, self(), Head, Body}, [noconnect]),
    ok.

-spec change_link(ferrets_nif:effect(), pid(), state()) -> state().
change_link({link_up, Peer}, Pid, #state{tab = Tab, handle = Handle, peers = Peers} = State) ->
    Records = ferrets_nif:size(Tab),
    count(links_up, State),
    tell_peer(info, ferrets_link_up, Pid, #{records => Records}, #{}, State),
    Mark = ferrets_traffic:begin_sync(Records, ferrets_nif:traffic(Handle, Peer)),
    set_link(Peer, linked, State#state{peers = ferrets_peers:set_mark(Peer, Mark, Peers)});
change_link({synced, Peer}, Pid, State) ->
    count(syncs, State),
    tell_peer(info, ferrets_synced, Pid, sync_numbers(Peer, State), #{}, State),
    answer_waiting(Peer, ok, set_link(Peer, synced, State));
change_link({diverged, _Peer, Entries}, Pid, #state{counters = Counters} = State) ->
    ferrets_counters:add(diverged, Entries, Counters),
    tell_peer(warning, ferrets_diverged, Pid, #{entries => Entries}, #{}, State),
    State;
change_link({link_down, Peer, Reason}, Pid, State) ->
    count(links_down, State),
    tell_link_down(Reason, Pid, State),
    State1 = set_link(Peer, closed, State),
    case Reason of
        %% The library opens a new link in the same breath: who waits for the sync goes on waiting.
        _ when Reason =:= gap; Reason =:= relinked; Reason =:= stalled -> State1;
        _ -> answer_waiting(Peer, {error, {link_down, Reason}}, State1)
    end;
change_link({refused, Peer, Reason}, Pid, State) ->
    count(refusals, State),
    tell_peer(error, ferrets_link_refused, Pid, #{}, #{reason => Reason}, State),
    answer_waiting(Peer, {error, {refused, Reason}}, set_link(Peer, closed, State)).

-spec sync_numbers(ferrets_nif:peer(), state()) -> #{atom() => number()}.
sync_numbers(Peer, #state{tab = Tab, handle = Handle, peers = Peers}) ->
    Numbers = ferrets_traffic:end_sync(ferrets_peers:mark(Peer, Peers), ferrets_nif:traffic(Handle, Peer)),
    Numbers#{records => ferrets_nif:size(Tab)}.

-spec set_link(ferrets_nif:peer(), ferrets_peers:state(), state()) -> state().
set_link(Peer, Link, State) ->
    State#state{peers = ferrets_peers:set_state(Peer, Link, State#state.peers)}.

-spec answer_waiting(ferrets_nif:peer(), term(), state()) -> state().
answer_waiting(Peer, Answer, State) ->
    {Waiting, Peers} = ferrets_peers:take_waiting(Peer, State#state.peers),
    answer_all(Waiting, Answer),
    State#state{peers = Peers}.

-spec answer_all([ferrets_request:id()], term()) -> ok.
answer_all(Tags, Answer) ->
    lists:foreach(fun(Tag) -> ferrets_request:answer(Tag, Answer) end, Tags).

%% ---------------------------------------------------------------- what is counted and told

-spec count(ferrets_counters:name(), state()) -> ok.
count(Name, #state{counters = Counters}) ->
    ferrets_counters:add(Name, 1, Counters).

-spec tell_link_down(atom(), pid(), state()) -> ok.
tell_link_down(stalled, Pid, State) ->
    count(stalls, State),
    tell_peer(warning, ferrets_peer_stalled, Pid, #{}, #{}, State);
tell_link_down(Reason, Pid, State) ->
    tell_peer(warning, ferrets_link_down, Pid, #{}, #{reason => Reason}, State).

-spec tell_peer(logger:level(), ferrets_event:what(), pid(), #{atom() => number()}, map(), state()) -> ok.
tell_peer(Level, What, Pid, Numbers, Evidence, #state{tab = Tab}) ->
    ferrets_event:tell(Level, What, Numbers, Evidence#{table => Tab, remote_pid => Pid, remote_node => node(Pid)}).

%% What may happen once per record is told by the second, as a sum.
-spec tell_counted(state()) -> state().
tell_counted(State) ->
    tell_sum(conflicts_asked, ferrets_conflicts, tell_sum(wrong_leader, ferrets_wrong_leader, State)).

-spec tell_sum(ferrets_counters:name(), ferrets_event:what(), state()) -> state().
tell_sum(Name, What, #state{tab = Tab, counters = Counters, told = Told} = State) ->
    Before = maps:get(Name, Told, 0),
    case ferrets_counters:get(Name, Counters) of
        Before ->
            State;
        Now ->
            ferrets_event:tell(info, What, #{count => Now - Before}, #{table => Tab}),
            State#state{told = Told#{Name => Now}}
    end.

%% ---------------------------------------------------------------- peers

-spec intern(pid(), state()) -> {ferrets_nif:peer(), state()}.
intern(Pid, #state{peers = Peers} = State) ->
    case ferrets_peers:intern(Pid, Peers) of
        %% Nearly always: nothing has to be copied.
        {Peer, Peers} -> {Peer, State};
        {Peer, Changed} -> {Peer, State#state{peers = Changed}}
    end.

-spec handle_down(down(), state()) -> state().
handle_down({'DOWN', Pause, process, _, _}, #state{pauses = Pauses} = State) when is_map_key(Pause, Pauses) ->
    set_pauses(maps:remove(Pause, Pauses), State);
handle_down({'DOWN', Witness, process, _, _}, #state{witness = Witness, handle = Handle} = State) ->
    State#state{witness = ferrets_witness:start(Handle)};
handle_down({'DOWN', Monitor, process, Pid, Reason} = Message, State) ->
    case ferrets_peers:remove(Pid, Monitor, State#state.peers) of
        {Gone, Peers} ->
            handle_gone(Gone, Pid, Reason, State#state{peers = Peers});
        unknown ->
            log_unexpected(info, Message, State),
            State
    end.

-spec handle_gone(ferrets_peers:gone(), pid(), term(), state()) -> state().
handle_gone(#{peer := Peer, was_linked := WasLinked, waiting := Waiting}, Pid, Reason, State) ->
    State1 = work(ferrets_nif:peer_down(State#state.handle, Peer), State),
    answer_all(Waiting, {error, {server_down, Reason}}),
    case WasLinked of
        true -> lost(Pid, Reason, State1);
        false -> State1
    end.

-spec lost(pid(), term(), state()) -> state().
lost(Pid, Reason, #state{tab = Tab, options = Options, node_down_history = History} = State) ->
    count(servers_down, State),
    tell_peer(warning, ferrets_server_down, Pid, #{}, #{reason => Reason}, State),
    case Options of
        #{handle_down := Fun} ->
            #{leader := Leader} = ferrets_nif:status(State#state.handle),
            ferrets_callback:run(handle_down, Fun, #{
                remote_pid => Pid, remote_node => node(Pid), table => Tab, is_leader => Leader =:= self
            });
        #{} ->
            ok
    end,
    State#state{node_down_history = lists:sublist([node(Pid) | History], ?HISTORY_MAX)}.

%% ---------------------------------------------------------------- what callers ask

-spec server_pid(self | ferrets_nif:peer(), state()) -> pid().
server_pid(self, _State) -> self();
server_pid(Peer, State) -> ferrets_peers:pid(Peer, State#state.peers).

-spec linked_nodes(state()) -> [node()].
linked_nodes(State) ->
    lists:usort([node() | [node(Pid) || Pid <- ferrets_peers:linked(State#state.peers)]]).

-spec info(state()) -> map().
info(#state{tab = Tab, handle = Handle, options = Options, node_down_history = History} = State) ->
    #{leader := Leader, peers := Peers} = Status = ferrets_nif:status(Handle),
    #{type := Type, keypos := KeyPos} = Options,
    Status#{
        table => Tab,
        type => Type,
        keypos => KeyPos,
        opts => Options,
        nodes => linked_nodes(State),
        other_servers => ferrets_peers:linked(State#state.peers),
        leader => server_pid(Leader, State),
        peers => lists:flatmap(fun(Peer) -> peer_info(Peer, State) end, Peers),
        node_down_history => History,
        counters => maps:merge(ferrets_counters:read(State#state.counters), ferrets_nif:traffic(Handle, all)),
        pause_monitors => maps:keys(State#state.pauses)
    }.

-spec peer_info(#{peer := ferrets_nif:peer(), atom() => term()}, state()) -> [map()].
peer_info(#{peer := Peer} = Status, State) ->
    case ferrets_peers:pid(Peer, State#state.peers) of
        undefined -> [];
        Pid -> [maps:remove(peer, Status#{pid => Pid, node => node(Pid)})]
    end.
