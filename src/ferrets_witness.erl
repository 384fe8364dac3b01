%%% Sees its table's server die, and has those told why who wait for peers to have a write.
%%%
%%% A writer waits for a message from the native library and monitors nobody: a monitor would send the server a signal when the wait
%%% begins and another when it ends, which together cost more than the write. In its stead one process for each table watches
%%% the server. It ends with the server, and the server starts another if it is killed.
-module(ferrets_witness).

-behaviour(gen_server).

-export([start/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

%% The library may know of the death, and not be ready yet.
-define(RETRY_MS, 1).

-record(state, {handle :: ferrets_nif:handle(), monitor :: reference(), why :: term()}).

%% To be called by the server. Returns a monitor of the witness.
-spec start(ferrets_nif:handle()) -> reference().
start(Handle) ->
    {ok, {_Pid, Monitor}} = gen_server:start_monitor(?MODULE, {Handle, self()}, []),
    Monitor.

-spec init({ferrets_nif:handle(), pid()}) -> {ok, #state{}}.
init({Handle, Server}) ->
    {ok, #state{handle = Handle, monitor = erlang:monitor(process, Server)}}.

-spec handle_call(term(), gen_server:from(), #state{}) -> {noreply, #state{}}.
handle_call(_Question, _From, State) -> {noreply, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_Message, State) -> {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {noreply, #state{}, timeout()} | {stop, normal, #state{}}.
handle_info({'DOWN', Monitor, process, _, Why}, #state{monitor = Monitor} = State) ->
    strand(State#state{why = Why});
handle_info(timeout, #state{} = State) ->
    strand(State);
handle_info(_Message, State) ->
    {noreply, State}.

-spec strand(#state{}) -> {noreply, #state{}, timeout()} | {stop, normal, #state{}}.
strand(#state{handle = Handle, why = Why} = State) ->
    case ferrets_nif:strand(Handle, {down, Why}) of
        ok -> {stop, normal, State};
        again -> {noreply, State, ?RETRY_MS}
    end.
