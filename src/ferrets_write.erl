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

%% A single write tries its luck without a tag: a monitor costs as much as the write, and a table without peers needs
%% none. A list always brings a tag, lest a peer that is linked half-way should make it start again.
-spec call_local(atom(), op(), argument()) -> ok.
call_local(Tab, Op, Argument) when Op =:= insert; Op =:= delete ->
    try apply_slice(Tab, Op, Argument, undefined) of
        ok -> ok;
        untagged -> call_tagged(Tab, Op, Argument)
    catch
        error:badarg -> refuse(Tab, Op, Argument)
    end;
call_local(Tab, Op, Argument) ->
    call_tagged(Tab, Op, Argument).

%% The name may pass to another server between `whereis' and the write. Then the caller gets the exit of the old one
%% though the new one has the write: an exit says, as always, that nobody knows.
-spec call_tagged(atom(), op(), argument()) -> ok.
call_tagged(Tab, Op, Argument) ->
    case whereis(Tab) of
        undefined ->
            refuse_absent(Tab, Op, Argument);
        Server ->
            %% Not `ferrets_request:open/1': the compiler lets a `receive' skip what was in the mailbox before a
            %% reference was made only if both stand in one function.
            Tag = erlang:monitor(process, Server, [{alias, reply_demonitor}]),
            case apply_tagged(Tab, Op, Argument, Tag) of
                ok ->
                    ferrets_request:close(Tag);
                wait ->
                    receive
                        {[alias | Tag], ok} -> ok;
                        {'DOWN', Tag, process, _, Reason} -> exit_call(Reason, Tab, Op, Argument)
                    end
            end
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
            Tag = ferrets_request:open(Server),
            case apply_tagged(Tab, Op, Argument, Tag) of
                ok -> ferrets_request:answer(Tag, ok);
                wait -> ok
            end,
            Tag
    end.

%% ---------------------------------------------------------------- into the library

-spec apply_tagged(atom(), op(), argument(), ferrets_request:id()) -> ok | wait.
apply_tagged(Tab, Op, Argument, Tag) ->
    try
        ok = check_all(Tab, Op, Argument),
        apply_all(Tab, Op, Argument, Tag)
    catch
        error:badarg ->
            ferrets_request:close(Tag),
            refuse(Tab, Op, Argument)
    end.

%% Looks at all of a list before the first of it is written, so that one bad element keeps out the others.
-spec check_all(atom(), op(), argument()) -> ok.
check_all(Tab, Op, Argument) ->
    case check_slice(Tab, Op, Argument) of
        ok -> ok;
        {more, Rest} -> check_all(Tab, Op, Rest)
    end.

-spec apply_all(atom(), op(), argument(), ferrets_request:id()) -> ok | wait.
apply_all(Tab, Op, Argument, Tag) ->
    case apply_slice(Tab, Op, Argument, Tag) of
        {more, Rest} -> apply_all(Tab, Op, Rest, Tag);
        ok -> ok;
        wait -> wait
    end.

-spec check_slice(atom(), op(), argument()) -> ok | {more, argument()}.
check_slice(Tab, insert_many, Records) -> ferrets_nif:check(Tab, record, Records);
check_slice(Tab, delete_objects, Records) -> ferrets_nif:check(Tab, record, Records);
check_slice(Tab, delete_many, Keys) -> ferrets_nif:check(Tab, key, Keys);
check_slice(_Tab, _Op, _Argument) -> ok.

-spec apply_slice(atom(), op(), argument(), ferrets_request:id() | undefined) ->
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
