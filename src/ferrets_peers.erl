%%% The other servers that a table's server knows, and how far the link to each of them has come.
%%%
%%% The native library knows peers by number, Erlang knows them by pid: this is the dictionary. A number is never given
%%% out twice, so what the library still says of a peer that is gone names nobody. Every peer in here is monitored,
%%% and leaves with its `DOWN'. A pid that comes back after a netsplit gets a new number.
%%%
%%% It also holds the requests that wait until a link is in sync (`ferrets_join').
-module(ferrets_peers).

-export([new/0, intern/2, remove/3]).
-export([pid/2, state/2, mark/2, all/1, linked/1]).
-export([set_state/3, set_mark/3, wait/3, take_waiting/2]).

-export_type([peers/0, peer/0, state/0, gone/0]).

-type peer() :: ferrets_nif:peer().
%% `closed': known, but not linked. `linked': writes are shipped both ways, old records may be missing still.
-type state() :: closed | linked | synced.

-record(peer, {
    pid :: pid(),
    monitor :: reference(),
    state = closed :: state(),
    was_linked = false :: boolean(),
    %% Since when it has been synced with.
    mark :: ferrets_traffic:mark() | undefined,
    waiting = [] :: [ferrets_request:id()]
}).

-record(peers, {
    by_number = #{} :: #{peer() => #peer{}},
    numbers = #{} :: #{pid() => peer()},
    next = 1 :: peer()
}).

-opaque peers() :: #peers{}.
%% What is left of a peer: its number, whether it had ever been linked, and who waits for it in vain.
-type gone() :: #{peer := peer(), was_linked := boolean(), waiting := [ferrets_request:id()]}.

-spec new() -> peers().
new() -> #peers{}.

%% The number of a server; one that is new is monitored from now on.
-spec intern(pid(), peers()) -> {peer(), peers()}.
intern(Pid, #peers{by_number = ByNumber, numbers = Numbers, next = Next} = Peers) ->
    case Numbers of
        #{Pid := Number} ->
            {Number, Peers};
        #{} ->
            Peer = #peer{pid = Pid, monitor = erlang:monitor(process, Pid)},
            {Next, Peers#peers{
                by_number = ByNumber#{Next => Peer},
                numbers = Numbers#{Pid => Next},
                next = Next + 1
            }}
    end.

%% Forgets a peer because of this very monitor. `unknown' if the monitor is nobody's.
-spec remove(pid(), reference(), peers()) -> {gone(), peers()} | unknown.
remove(Pid, Monitor, #peers{by_number = ByNumber, numbers = Numbers} = Peers) ->
    Number = maps:get(Pid, Numbers, none),
    case ByNumber of
        #{Number := #peer{monitor = Monitor, was_linked = WasLinked, waiting = Waiting}} ->
            Gone = #{peer => Number, was_linked => WasLinked, waiting => Waiting},
            {Gone, Peers#peers{by_number = maps:remove(Number, ByNumber), numbers = maps:remove(Pid, Numbers)}};
        #{} ->
            unknown
    end.

-spec pid(peer(), peers()) -> pid() | undefined.
pid(Number, #peers{by_number = ByNumber}) ->
    case ByNumber of
        #{Number := #peer{pid = Pid}} -> Pid;
        #{} -> undefined
    end.

-spec state(peer(), peers()) -> state().
state(Number, #peers{by_number = ByNumber}) ->
    #{Number := #peer{state = State}} = ByNumber,
    State.

-spec mark(peer(), peers()) -> ferrets_traffic:mark() | undefined.
mark(Number, #peers{by_number = ByNumber}) ->
    #{Number := #peer{mark = Mark}} = ByNumber,
    Mark.

-spec all(peers()) -> #{pid() => state()}.
all(#peers{by_number = ByNumber}) ->
    maps:from_list([{Pid, State} || #peer{pid = Pid, state = State} <- maps:values(ByNumber)]).

%% The servers whose link is up.
-spec linked(peers()) -> ordsets:ordset(pid()).
linked(Peers) ->
    lists:sort([Pid || {Pid, State} <- maps:to_list(all(Peers)), State =/= closed]).

-spec set_state(peer(), state(), peers()) -> peers().
set_state(Number, State, Peers) ->
    update(Number, fun(Peer) ->
        Peer#peer{state = State, was_linked = Peer#peer.was_linked orelse State =/= closed}
    end, Peers).

-spec set_mark(peer(), ferrets_traffic:mark() | undefined, peers()) -> peers().
set_mark(Number, Mark, Peers) ->
    update(Number, fun(Peer) -> Peer#peer{mark = Mark} end, Peers).

-spec wait(peer(), ferrets_request:id(), peers()) -> peers().
wait(Number, Tag, Peers) ->
    update(Number, fun(Peer) -> Peer#peer{waiting = [Tag | Peer#peer.waiting]} end, Peers).

-spec take_waiting(peer(), peers()) -> {[ferrets_request:id()], peers()}.
take_waiting(Number, #peers{by_number = ByNumber} = Peers) ->
    #{Number := #peer{waiting = Waiting}} = ByNumber,
    {Waiting, update(Number, fun(Peer) -> Peer#peer{waiting = []} end, Peers)}.

-spec update(peer(), fun((#peer{}) -> #peer{}), peers()) -> peers().
update(Number, Fun, #peers{by_number = ByNumber} = Peers) ->
    Peers#peers{by_number = maps:update_with(Number, Fun, ByNumber)}.
