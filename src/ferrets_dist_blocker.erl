%%% Keeps a node that went from coming back before all has been cleaned up after it.
%%%
%%% Who has to clean up when a node goes (sessions, routes, rows of its own) registers as a cleaner. When a node goes it may not
%%% connect until every cleaner has confirmed; a cleaner that is dead counts as done. So nobody sees the returned
%%% node's new data and the cleaning of its old in the wrong order. Start it early, before the nodes are connected and before the
%%% cleaners, which its restart has to restart: with `rest_for_one', or in front of them.
%%%
%%% It works by cookies: while a node is connected, it is given a cookie that nobody else has, which a connection does not
%%% notice, but a reconnection does. The cookie is put back when all is clean. What else sets a cookie for a node meanwhile
%%% undoes that. Hidden nodes are left alone.
%%%
%%% Guarantee: from when this process has handled a `nodedown' until the last confirmation, no connection with that node
%%% lasts. One that is so quick that it slips in before is cut. If the process is killed, its next life unblocks whoever it left
%%% blocked.
%%%
%%%     1> ferrets_dist_blocker:start_link().
%%%     2> ferrets_dist_blocker:add_cleaner(self()).
%%%     3> receive {nodedown, Node} -> clean_up(Node), ferrets_dist_blocker:cleaning_done(self(), Node) end.
-module(ferrets_dist_blocker).

-behaviour(gen_server).

-export([start_link/0, child_spec/1, add_cleaner/1, cleaning_done/2, is_blocked/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3]).

-include_lib("kernel/include/logger.hrl").

%% The application's environment outlives this process, and a kill.
-define(COOKIES, dist_blocker_cookies).
-define(SECRET, dist_blocker_secret).

-record(state, {
    cleaners = #{} :: #{pid() => Monitor :: reference()},
    %% Nodes that went, and who has not confirmed.
    waiting = #{} :: #{node() => [pid(), ...]},
    %% Confirmations that overtook the `nodedown' that they are for.
    early = #{} :: #{node() => [pid(), ...]},
    %% Nodes that were back before they might, and were cut off again.
    cut = [] :: [node()]
}).

-type state() :: #state{}.

-spec start_link() -> {ok, pid()} | {error, {already_started, pid()}}.
start_link() ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, [], []).

-spec child_spec(term()) -> supervisor:child_spec().
child_spec(_) ->
    #{id => ?MODULE, start => {?MODULE, start_link, []}}.

%% Has this process asked for every node that goes from now on.
-spec add_cleaner(pid()) -> ok.
add_cleaner(Cleaner) when is_pid(Cleaner) ->
    gen_server:call(?MODULE, {add_cleaner, Cleaner}).

%% A cleaner has cleaned up after a node. Once for each time that the node went.
-spec cleaning_done(Cleaner :: pid(), node()) -> ok.
cleaning_done(Cleaner, Node) when is_pid(Cleaner), is_atom(Node) ->
    gen_server:call(?MODULE, {cleaning_done, Cleaner, Node}).

%% Whether a node is kept out now.
-spec is_blocked(node()) -> boolean().
is_blocked(Node) ->
    is_map_key(Node, cookies()) andalso not lists:member(Node, nodes()).

%% ---------------------------------------------------------------- gen_server

-spec init([]) -> {ok, state()}.
init([]) ->
    %% So that `terminate/2' is called.
    process_flag(trap_exit, true),
    ok = net_kernel:monitor_nodes(true),
    Connected = nodes(),
    %% Of a life that was killed: whom it waited for nobody knows.
    lists:foreach(fun unblock/1, maps:keys(maps:without(Connected, cookies()))),
    lists:foreach(fun block/1, Connected),
    {ok, #state{}}.

-spec handle_call(term(), gen_server:from(), state()) -> {reply, ok, state()} | {noreply, state()}.
handle_call({add_cleaner, Cleaner}, _From, #state{cleaners = Cleaners} = State) when is_map_key(Cleaner, Cleaners) ->
    {reply, ok, State};
handle_call({add_cleaner, Cleaner}, _From, #state{cleaners = Cleaners} = State) ->
    {reply, ok, State#state{cleaners = Cleaners#{Cleaner => erlang:monitor(process, Cleaner)}}};
handle_call({cleaning_done, Cleaner, Node}, _From, State) ->
    {reply, ok, handle_done(Cleaner, Node, State)};
handle_call(Question, From, State) ->
    log_unexpected(call, {From, Question}),
    {noreply, State}.

-spec handle_cast(term(), state()) -> {noreply, state()}.
handle_cast(Message, State) ->
    log_unexpected(cast, Message),
    {noreply, State}.

-spec handle_info(term(), state()) -> {noreply, state()}.
handle_info({nodeup, Node}, State) ->
    {noreply, handle_nodeup(Node, State)};
handle_info({nodedown, Node}, State) ->
    {noreply, handle_nodedown(Node, State)};
handle_info({'DOWN', Monitor, process, Cleaner, _Reason}, #state{cleaners = Cleaners} = State) when
    map_get(Cleaner, Cleaners) =:= Monitor
->
    {noreply, handle_cleaner_down(Cleaner, State#state{cleaners = maps:remove(Cleaner, Cleaners)})};
handle_info(Message, State) ->
    log_unexpected(info, Message),
    {noreply, State}.

-spec terminate(term(), state()) -> ok.
terminate(_Reason, _State) ->
    lists:foreach(fun unblock/1, maps:keys(cookies())).

-spec code_change(term(), state(), term()) -> {ok, state()}.
code_change(_OldVersion, State, _Extra) ->
    {ok, State}.

-spec log_unexpected(call | cast | info, term()) -> ok.
log_unexpected(Kind, Message) ->
    ?LOG_WARNING(#{what => ferrets_unexpected_message, process => ?MODULE, kind => Kind, message => Message}).

%% ---------------------------------------------------------------- nodes and cleaners

%% Already now, and not when it goes: then it might be back before this process hears of it.
-spec handle_nodeup(node(), state()) -> state().
handle_nodeup(Node, #state{waiting = Waiting, early = Early, cut = Cut} = State) ->
    block(Node),
    State1 = State#state{early = maps:remove(Node, Early)},
    case Waiting of
        #{Node := _} ->
            _ = erlang:disconnect_node(Node),
            State1#state{cut = [Node | Cut]};
        #{} ->
            State1
    end.

-spec handle_nodedown(node(), state()) -> state().
handle_nodedown(Node, #state{cleaners = Cleaners, waiting = Waiting, early = Early, cut = Cut} = State) ->
    Cleaning = maps:keys(Cleaners) -- maps:get(Node, Early, []),
    State1 = State#state{early = maps:remove(Node, Early), cut = lists:delete(Node, Cut)},
    case {lists:member(Node, Cut), Waiting, Cleaning} of
        %% It was here for a moment, and not long enough to leave anything: who has cleaned has.
        {true, #{Node := _}, _} ->
            State1;
        {IsCut, _, _} when IsCut orelse Cleaning =:= [] ->
            unblock(Node),
            State1;
        {false, _, _} ->
            ferrets_event:tell(info, ferrets_node_blocked, #{cleaners => length(Cleaning)}, #{remote_node => Node}),
            State1#state{waiting = Waiting#{Node => Cleaning}}
    end.

-spec handle_done(pid(), node(), state()) -> state().
handle_done(Cleaner, Node, #state{waiting = Waiting, early = Early, cleaners = Cleaners} = State) ->
    case Waiting of
        #{Node := Cleaning} ->
            State#state{waiting = cleaned(Node, lists:delete(Cleaner, Cleaning), Waiting)};
        #{} ->
            %% Its `nodedown' reached the cleaner first. If the node is here, it is about nothing: about a table that ended, say.
            case is_map_key(Cleaner, Cleaners) andalso not lists:member(Node, nodes()) of
                true -> State#state{early = Early#{Node => [Cleaner | maps:get(Node, Early, [])]}};
                false -> State
            end
    end.

-spec handle_cleaner_down(pid(), state()) -> state().
handle_cleaner_down(Cleaner, #state{waiting = Waiting} = State) ->
    State#state{
        waiting = maps:fold(
            fun(Node, Cleaning, Rest) -> cleaned(Node, lists:delete(Cleaner, Cleaning), Rest) end, Waiting, Waiting
        )
    }.

%% These cleaners are left.
-spec cleaned(node(), [pid()], #{node() => [pid(), ...]}) -> #{node() => [pid(), ...]}.
cleaned(Node, [], Waiting) ->
    unblock(Node),
    ferrets_event:tell(info, ferrets_node_unblocked, #{}, #{remote_node => Node}),
    maps:remove(Node, Waiting);
cleaned(Node, Cleaning, Waiting) ->
    Waiting#{Node := Cleaning}.

%% ---------------------------------------------------------------- cookies

%% Remembers the cookie that the node has with us, unless it is blocked already.
-spec block(node()) -> ok.
block(Node) ->
    Cookies = cookies(),
    case Cookies of
        #{Node := _} ->
            ok;
        #{} ->
            set_cookies(Cookies#{Node => erlang:get_cookie(Node)}),
            true = erlang:set_cookie(Node, blocking_cookie()),
            ok
    end.

-spec unblock(node()) -> ok.
unblock(Node) ->
    case maps:take(Node, cookies()) of
        {Cookie, Rest} ->
            true = erlang:set_cookie(Node, Cookie),
            set_cookies(Rest);
        error ->
            ok
    end.

%% One per VM, since atoms are never freed; that no other node knows.
-spec blocking_cookie() -> atom().
blocking_cookie() ->
    case application:get_env(ferrets, ?SECRET) of
        {ok, Cookie} ->
            Cookie;
        undefined ->
            Cookie = list_to_atom("blocked_" ++ integer_to_list(binary:decode_unsigned(rand:bytes(16)), 36)),
            ok = application:set_env(ferrets, ?SECRET, Cookie),
            Cookie
    end.

%% The cookies that blocked nodes had with us, and will have again.
-spec cookies() -> #{node() => atom()}.
cookies() ->
    application:get_env(ferrets, ?COOKIES, #{}).

-spec set_cookies(#{node() => atom()}) -> ok.
set_cookies(Cookies) ->
    application:set_env(ferrets, ?COOKIES, Cookies).
