%%% The road of a replicated write, in the caller's process.
%%%
%%% On the table's own node the caller does the work itself, in one call into the native library. Without peers that is
%%% all, and no message is sent; with peers the caller waits on an alias until every linked peer has the write or is
%%% gone, while the server, woken from inside the library, ships it with all others of that moment. To a server on
%%% another node the write goes as a message, and that server does the same on the caller's behalf (`ferrets_backlog').
%%%
%%% Order: writes of one process to one table take effect in the order of its calls and requests.
%%%
%%% Whose mistake it was: what can be seen to be no record or no list raises `badarg' whether there is such a table or
%%% not; then a name that nobody holds exits with `noproc', as a call to a missing gen_server; then all else that the
%%% library refuses raises `badarg'.
-module(ferrets_write).

-export([call/3, request/3]).
-export([check_slice/3, apply_slice/4]).

-export_type([op/0, argument/0]).

-type op() :: insert | insert_many | delete | delete_many | delete_objects.
%% A record, a list of records, a key, a list of keys.
-type argument() :: term().

%% ---------------------------------------------------------------- writes that wait

%% Returns when every linked peer has applied the write or has gone.
-spec call(ferrets_address:server(), op(), argument()) -> ok.
call(Tab, Op, Argument) when is_atom(Tab) ->
    call_local(Tab, Op, Argument);
call(Server, Op, Argument) ->
    case ferrets_address:find(Server) of
        {local, Tab} -> call_local(Tab, Op, Argument);
        {remote, Pid} -> call_remote(Pid, Op, Argument);
        undefined -> refuse_absent(Server, Op, Argument)
    end.

%% A single write tries its luck without a tag: a table without peers needs none. A list always brings one, lest a peer that is
%% linked half-way should make it start again.
-spec call_local(atom(), op(), argument()) -> ok.
call_local(Tab, Op, Argument) when Op =:= insert; Op =:= delete ->
    try apply_slice(Tab, Op, Argument, undefined) of
        ok -> ok;
        untagged -> call_waiting(Tab, Op, Argument)
    catch
        error:badarg -> refuse(Tab, Op, Argument)
    end;
call_local(Tab, Op, Argument) ->
    call_waiting(Tab, Op, Argument).

%% The library itself sends the message that ends the wait, and `ferrets_witness' the one that says that the server is dead.
%% The compiler lets a `receive' skip what was in the mailbox before a reference was made only if both stand in one function.
-spec call_waiting(atom(), op(), argument()) -> ok.
call_waiting(Tab, Op, Argument) ->
    Reference = make_ref(),
    case check_and_apply(Tab, Op, Argument, {Reference, ok}) of
        ok ->
            ok;
        wait ->
            receive
                {Reference, ok} -> ok;
                {Reference, {down, Reason}} -> exit_call(Reason, Tab, Op, Argument)
            end;
        {untagged, Rest} ->
            call_paused(Tab, Op, Rest)
    end.

%% Of a paused table the server carries out what is left. It answers through an alias.
-spec call_paused(atom(), op(), argument()) -> ok.
call_paused(Tab, Op, Argument) ->
    case ferrets_request:wait(request_local(Tab, Op, Argument), infinity) of
        {reply, ok} -> ok;
        {error, {Reason, _}} -> exit_call(Reason, Tab, Op, Argument)
    end.

-spec call_remote(pid(), op(), argument()) -> ok.
call_remote(Server, Op, Argument) ->
    check_shape(Op, Argument),
    case ferrets_request:wait(ferrets_request:send(Server, {write, Op, Argument}), infinity) of
        {reply, ok} -> ok;
        {error, {badarg, Server}} -> error(badarg);
        {error, {Reason, _}} -> exit_call(Reason, Server, Op, Argument)
    end.

%% ---------------------------------------------------------------- writes that do not wait

%% The answer to the request is `ok', at the time when `call/3' would return.
-spec request(ferrets_address:server(), op(), argument()) -> ferrets_request:id().
request(Server, Op, Argument) ->
    check_shape(Op, Argument),
    case ferrets_address:find(Server) of
        {local, Tab} -> request_local(Tab, Op, Argument);
        {remote, Pid} -> ferrets_request:send(Pid, {write, Op, Argument});
        undefined -> refuse_absent(Server, Op, Argument)
    end.

-spec request_local(atom(), op(), argument()) -> ferrets_request:id().
request_local(Tab, Op, Argument) ->
    case whereis(Tab) of
        undefined ->
            %% The answer is `{error, {noproc, _}}'.
            ferrets_request:open(Tab);
        Server ->
            Alias = ferrets_request:open(Server),
            case apply_aliased(Tab, Op, Argument, Alias) of
                ok -> ferrets_request:answer(Alias, ok);
                wait -> ok
            end,
            Alias
    end.

-spec apply_aliased(atom(), op(), argument(), ferrets_request:id()) -> ok | wait.
apply_aliased(Tab, Op, Argument, Alias) ->
    try
        check_and_apply(Tab, Op, Argument, Alias)
    catch
        Class:Reason:Stack ->
            ferrets_request:close(Alias),
            erlang:raise(Class, Reason, Stack)
    end.

%% ---------------------------------------------------------------- into the library

-spec check_and_apply(atom(), op(), argument(), ferrets_nif:tag()) -> ok | wait | {untagged, argument()}.
check_and_apply(Tab, Op, Argument, Tag) ->
    try
        ok = check_all(Tab, Op, Argument),
        apply_all(Tab, Op, Argument, Tag)
    catch
        error:badarg -> refuse(Tab, Op, Argument)
    end.

%% Looks at all of a list before the first of it is written, so that one bad element keeps out the others.
-spec check_all(atom(), op(), argument()) -> ok.
check_all(Tab, Op, Argument) ->
    case check_slice(Tab, Op, Argument) of
        ok -> ok;
        {more, Rest} -> check_all(Tab, Op, Rest)
    end.

-spec apply_all(atom(), op(), argument(), ferrets_nif:tag()) -> ok | wait | {untagged, argument()}.
apply_all(Tab, Op, Argument, Tag) ->
    case apply_slice(Tab, Op, Argument, Tag) of
        {more, Rest} -> apply_all(Tab, Op, Rest, Tag);
        ok -> ok;
        wait -> wait;
        untagged -> {untagged, Argument}
    end.

-spec check_slice(atom(), op(), argument()) -> ok | {more, argument()}.
check_slice(Tab, insert_many, Records) -> ferrets_nif:check(Tab, record, Records);
check_slice(Tab, delete_objects, Records) -> ferrets_nif:check(Tab, record, Records);
check_slice(Tab, delete_many, Keys) -> ferrets_nif:check(Tab, key, Keys);
check_slice(_Tab, _Op, _Argument) -> ok.

-spec apply_slice(atom(), op(), argument(), ferrets_nif:tag() | undefined) ->
    ok | wait | untagged | {more, argument()}.
apply_slice(Tab, insert, Record, Tag) -> ferrets_nif:insert(Tab, Record, Tag);
apply_slice(Tab, delete, Key, Tag) -> ferrets_nif:delete(Tab, Key, Tag);
apply_slice(Tab, insert_many, Records, Tag) -> ferrets_nif:insert_many(Tab, Records, Tag);
apply_slice(Tab, delete_many, Keys, Tag) -> ferrets_nif:delete_many(Tab, Keys, Tag);
apply_slice(Tab, delete_objects, Records, Tag) -> ferrets_nif:delete_objects(Tab, Records, Tag).

%% ---------------------------------------------------------------- bad input

%% What every table would refuse never leaves the caller.
-spec check_shape(op(), argument()) -> ok.
check_shape(Op, Argument) ->
    case has_shape(Op, Argument) of
        true -> ok;
        false -> error(badarg)
    end.

-spec has_shape(op(), argument()) -> boolean().
has_shape(insert, Record) -> is_tuple(Record);
has_shape(insert_many, Records) -> is_proper(Records) andalso lists:all(fun is_tuple/1, Records);
has_shape(delete_objects, Records) -> has_shape(insert_many, Records);
has_shape(delete, _Key) -> true;
has_shape(delete_many, Keys) -> is_proper(Keys).

-spec is_proper(term()) -> boolean().
is_proper(List) when length(List) >= 0 -> true;
is_proper(_) -> false.

-spec refuse(atom(), op(), argument()) -> no_return().
refuse(Tab, Op, Argument) ->
    case whereis(Tab) of
        undefined -> refuse_absent(Tab, Op, Argument);
        _ -> error(badarg)
    end.

-spec refuse_absent(ferrets_address:server(), op(), argument()) -> no_return().
refuse_absent(Server, Op, Argument) ->
    check_shape(Op, Argument),
    exit_call(noproc, Server, Op, Argument).

-spec exit_call(term(), ferrets_address:server(), op(), argument()) -> no_return().
exit_call(Reason, Server, Op, Argument) ->
    exit({Reason, {gen_server, call, [Server, {Op, Argument}]}}).
