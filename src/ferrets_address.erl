%%% How a table's server is named, and calls to it that are not writes.
%%%
%%% A call here is an ordinary `gen_server:call' without a time limit: the server never blocks, so it answers once it has
%%% read what stands before the call in its mailbox.
-module(ferrets_address).

-export([find/1, pid/1, pid_or_error/1, call/2]).

-export_type([server/0]).

-type server() :: atom() | pid() | {local, atom()} | {global, term()} | {via, module(), term()}.

%% Where a table's writes go: by name into the store of this node, or to a server elsewhere.
%%
%% A server on this node is always found by its table's name, whichever way it was addressed, so that all writes of a
%% process to one table take the same road and keep their order.
-spec find(server()) -> {local, atom()} | {remote, pid()} | undefined.
find(Name) when is_atom(Name) -> {local, Name};
find({local, Name}) when is_atom(Name) -> {local, Name};
find(Server) ->
    case pid(Server) of
        Pid when is_pid(Pid), node(Pid) =:= node() -> find_name(Pid);
        Pid when is_pid(Pid) -> {remote, Pid};
        undefined -> undefined
    end.

-spec find_name(pid()) -> {local, atom()} | undefined.
find_name(Pid) ->
    case process_info(Pid, registered_name) of
        {registered_name, Name} -> {local, Name};
        %% `[]' of a process that has no name, `undefined' of one that is dead: no table's server in either case.
        _ -> undefined
    end.

-spec pid(server()) -> pid() | undefined.
pid(Pid) when is_pid(Pid) -> Pid;
pid(Name) when is_atom(Name) -> whereis(Name);
pid({local, Name}) when is_atom(Name) -> whereis(Name);
pid({global, Name}) -> global:whereis_name(Name);
pid({via, Module, Name}) when is_atom(Module) -> Module:whereis_name(Name).

%% Raises `{pid_not_found, Server}' if nobody holds the name.
-spec pid_or_error(server()) -> pid().
pid_or_error(Server) ->
    case pid(Server) of
        undefined -> error({pid_not_found, Server});
        Pid -> Pid
    end.

%% Besides, exits as `gen_server:call' does if the server dies.
-spec call(server(), term()) -> term().
call(Server, Question) ->
    gen_server:call(pid_or_error(Server), Question, infinity).
