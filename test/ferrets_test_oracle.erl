%%% What a table must answer, by `ets'.
%%%
%%% A call is made on an `ets' table and on one of ours, and the two answers are compared: value, or class and reason of
%%% the exception. Where the contract differs from `ets' on purpose, `ets/3' says so: replicated writes return `ok', a
%%% single insert takes no list, a list of deletions with a bad element deletes nothing.
%%%
%%% Answers must be identical to the sign of a zero, which `=:=' does not see before OTP 27. Only the order of what has
%%% none by contract is free: in a `set' or `bag' any walk is right that shows every key once, in the same order by all calls.
-module(ferrets_test_oracle).

-export([differs/4, differ/4, walks_differ/3, missing/2, ask/2, call_to_string/1, to_string/1]).

-export_type([call/0, type/0, answer/0, difference/0]).

-type type() :: ordered_set | set | bag.
%% How a write names the table's server.
-type via() :: name | local | pid.
%% The arguments without the table.
-type call() :: {ferrets | ferrets_local, Function :: atom(), via(), Arguments :: [term()]}.
-type answer() :: {returned, term()} | {error | exit | throw, Reason :: term()}.
-type difference() :: {differs, call() | atom(), Expected :: term(), Found :: term()}.

-define(ANSWER_MS, 10_000).
-define(SHOWN_MAX, 100).

%% ---------------------------------------------------------------- comparing

%% Makes all the calls, in their order.
-spec differ(type(), ets:table(), ferrets:table(), [call()]) -> same | difference().
differ(_Type, _Ets, _Tab, []) ->
    same;
differ(Type, Ets, Tab, [Call | Calls]) ->
    case differs(Type, Ets, Tab, Call) of
        same -> differ(Type, Ets, Tab, Calls);
        Difference -> Difference
    end.

-spec differs(type(), ets:table(), ferrets:table(), call()) -> same | difference().
differs(Type, Ets, Tab, {_, Function, _, Arguments} = Call) ->
    Expected = answer(fun() -> oracle(Ets, Call) end),
    Found = ask(Tab, Call),
    case agree(Type, Ets, Function, Arguments, Expected, Found) of
        true -> same;
        false -> {differs, Call, Expected, Found}
    end.

-spec agree(type(), ets:table(), atom(), [term()], answer(), answer()) -> boolean().
agree(ordered_set, _Ets, _Function, _Arguments, Expected, Found) ->
    is_identical(Expected, Found);
agree(_Type, Ets, Function, _Arguments, {returned, _}, {returned, Key}) when Function =:= first; Function =:= last ->
    is_key_or_end(Ets, Key) andalso (Key =:= '$end_of_table') =:= (ets:info(Ets, size) =:= 0);
agree(_Type, Ets, Function, [Key], {returned, _}, {returned, Other}) when Function =:= next; Function =:= prev ->
    is_key_or_end(Ets, Other) andalso Other =/= Key;
agree(_Type, _Ets, Function, _Arguments, {returned, Expected}, {returned, Found}) when
    Function =:= tab2list; Function =:= dump; Function =:= foldl; Function =:= foldr
->
    is_identical(sort(Expected), sort(Found));
agree(_Type, _Ets, remote_dump, _Arguments, {returned, {ok, Expected}}, {returned, {ok, Found}}) ->
    is_identical(sort(Expected), sort(Found));
agree(_Type, _Ets, _Function, _Arguments, Expected, Found) ->
    is_identical(Expected, Found).

-spec is_key_or_end(ets:table(), term()) -> boolean().
is_key_or_end(_Ets, '$end_of_table') -> true;
is_key_or_end(Ets, Key) -> ets:member(Ets, Key).

%% Before OTP 27 `0.0 =:= -0.0'; the external format tells them apart.
-spec is_identical(term(), term()) -> boolean().
is_identical(A, B) when is_atom(A); is_integer(A) -> A =:= B;
is_identical(A, B) -> A =:= B andalso term_to_binary(A) =:= term_to_binary(B).

%% `lists:sort/1' leaves 1 and 1.0 in whichever order they come.
-spec sort([term()]) -> [term()].
sort(Terms) ->
    [Term || {_, Term} <- lists:sort([{term_to_binary(Term), Term} || Term <- Terms])].

%% Whole walks by keys, both ways.
-spec walks_differ(type(), ets:table(), ferrets:table()) -> same | difference().
walks_differ(Type, Ets, Tab) ->
    Steps = ets:info(Ets, size) + 1,
    Up = walk(ets, next, Ets, Steps),
    FoundUp = walk(ferrets, next, Tab, Steps),
    FoundDown = walk(ferrets, prev, Tab, Steps),
    %% Where there is no order, `prev' is another name of `next'.
    case Type of
        ordered_set -> same_walks(Up, FoundUp, lists:reverse(Up), FoundDown);
        set -> same_walks(sort(Up), sort(FoundUp), FoundUp, FoundDown);
        %% A key may be 0.0 in one of its records and -0.0 in another: then either stands for both.
        bag -> same_walks(Up -- FoundUp, FoundUp -- Up, FoundUp, FoundDown)
    end.

-spec same_walks([term()], [term()], [term()], [term()]) -> same | difference().
same_walks(Up, FoundUp, Down, FoundDown) ->
    case {is_identical(Up, FoundUp), is_identical(Down, FoundDown)} of
        {true, true} -> same;
        {false, _} -> {differs, walk_by_next, Up, FoundUp};
        {true, false} -> {differs, walk_by_prev, Down, FoundDown}
    end.

%% Ends at the latest after so many steps, lest a walk in a circle should not end.
-spec walk(ets | ferrets, next | prev, ets:table(), pos_integer()) -> [term()].
walk(Module, next, Tab, Steps) -> walk(Module, next, Tab, Steps, Module:first(Tab));
walk(Module, prev, Tab, Steps) -> walk(Module, prev, Tab, Steps, Module:last(Tab)).

-spec walk(ets | ferrets, next | prev, ets:table(), non_neg_integer(), term()) -> [term()].
walk(_Module, _Step, _Tab, _Steps, '$end_of_table') -> [];
walk(_Module, _Step, _Tab, 0, _Key) -> [no_end];
walk(Module, Step, Tab, Steps, Key) -> [Key | walk(Module, Step, Tab, Steps - 1, Module:Step(Tab, Key))].

%% ---------------------------------------------------------------- our answer

-spec ask(ferrets:table(), call()) -> answer().
ask(Tab, {Module, Function, Via, Arguments}) ->
    answer(fun() -> ferrets(Module, Function, server(Via, Tab), Arguments) end).

-spec ferrets(module(), atom(), ferrets:server(), [term()]) -> term().
ferrets(ferrets, Function, Tab, []) when Function =:= foldl; Function =:= foldr ->
    ferrets:Function(fun collect/2, [], Tab);
ferrets(ferrets, info_size, Server, []) ->
    #{size := Size} = ferrets:info(Server),
    Size;
ferrets(Module, Function, Server, Arguments) ->
    Answer = apply(Module, Function, [Server | Arguments]),
    case is_request(Function) of
        true -> ferrets:wait_response(Answer, ?ANSWER_MS);
        false -> Answer
    end.

-spec is_request(atom()) -> boolean().
is_request(Function) ->
    lists:suffix("_request", atom_to_list(Function)).

-spec server(via(), ferrets:table()) -> ferrets:server().
server(name, Tab) -> Tab;
server(local, Tab) -> {local, Tab};
server(pid, Tab) -> whereis(Tab).

-spec answer(fun(() -> term())) -> answer().
answer(Call) ->
    try
        {returned, Call()}
    catch
        Class:Reason -> {Class, Reason}
    end.

-spec collect(tuple(), [tuple()]) -> [tuple()].
collect(Record, Records) ->
    [Record | Records].

%% ---------------------------------------------------------------- the oracle's answer

-spec oracle(ets:table(), call()) -> term().
oracle(Ets, {ferrets_local, Function, _, Arguments}) -> local(Ets, Function, Arguments);
oracle(Ets, {ferrets, Function, _, Arguments}) -> replicated(Ets, Function, Arguments).

-spec replicated(ets:table(), atom(), [term()]) -> term().
replicated(Ets, insert, [Record]) when is_tuple(Record) -> done(ets:insert(Ets, Record));
replicated(Ets, insert_many, [Records]) when is_list(Records) -> done(insert_list(Ets, Records));
replicated(Ets, delete, [Key]) -> done(ets:delete(Ets, Key));
replicated(Ets, delete_many, [Keys]) when length(Keys) >= 0 -> done([ets:delete(Ets, Key) || Key <- Keys]);
replicated(Ets, delete_object, [Record]) -> done(ets:delete_object(Ets, Record));
replicated(Ets, delete_objects, [Records]) when length(Records) >= 0 ->
    ok = check_records(Ets, Records),
    done([ets:delete_object(Ets, Record) || Record <- Records]);
replicated(Ets, insert_new, [Record]) when is_tuple(Record) -> ets:insert_new(Ets, Record);
replicated(Ets, insert_new_or_lookup, [Record]) when is_tuple(Record) ->
    WasInserted = ets:insert_new(Ets, Record),
    {WasInserted, ets:lookup(Ets, element(ets:info(Ets, keypos), Record))};
replicated(Ets, insert_serial, [Record]) -> replicated(Ets, insert, [Record]);
replicated(Ets, insert_request, [Records]) when is_list(Records) -> {reply, replicated(Ets, insert_many, [Records])};
replicated(Ets, insert_request, [Record]) -> {reply, replicated(Ets, insert, [Record])};
replicated(Ets, insert_many_request, [Records]) -> {reply, replicated(Ets, insert_many, [Records])};
replicated(Ets, delete_request, [Key]) -> {reply, replicated(Ets, delete, [Key])};
replicated(Ets, delete_many_request, [Keys]) -> {reply, replicated(Ets, delete_many, [Keys])};
replicated(Ets, delete_object_request, [Record]) -> {reply, replicated(Ets, delete_object, [Record])};
replicated(Ets, delete_objects_request, [Records]) -> {reply, replicated(Ets, delete_objects, [Records])};
replicated(Ets, size, []) -> ets:info(Ets, size);
replicated(Ets, info_size, []) -> ets:info(Ets, size);
replicated(Ets, dump, []) -> ets:tab2list(Ets);
replicated(Ets, remote_dump, []) -> {ok, ets:tab2list(Ets)};
replicated(Ets, foldl, []) -> ets:foldl(fun collect/2, [], Ets);
replicated(Ets, foldr, []) -> ets:foldr(fun collect/2, [], Ets);
%% `ets' has this one from OTP 26 on; it looks at the position first.
replicated(Ets, lookup_element, [Key, Position, Default]) when is_integer(Position), Position > 0 ->
    case ets:member(Ets, Key) of
        true -> ets:lookup_element(Ets, Key, Position);
        false -> Default
    end;
replicated(Ets, Read, Arguments) when
    Read =:= lookup; Read =:= member; Read =:= first; Read =:= last; Read =:= next; Read =:= prev; Read =:= tab2list;
    Read =:= lookup_element, length(Arguments) =:= 2
->
    apply(ets, Read, [Ets | Arguments]);
replicated(_Ets, _Function, _Arguments) ->
    error(badarg).

-spec local(ets:table(), atom(), [term()]) -> true | non_neg_integer().
%% All that was written here is this node's, and nothing is another's.
local(Ets, delete_owned, [Node]) when Node =/= node() ->
    true = is_list(ets:info(Ets)),
    0;
local(Ets, insert, [Records]) when is_list(Records) ->
    insert_list(Ets, Records);
local(Ets, Function, Arguments) when
    Function =:= insert; Function =:= delete; Function =:= delete_object; Function =:= delete_all_objects
->
    apply(ets, Function, [Ets | Arguments]).

%% Ours come into a bag in the list's order. `ets' turns the list round; it promises no order of what is inserted at once.
-spec insert_list(ets:table(), [tuple()]) -> true.
insert_list(Ets, Records) when length(Records) >= 0 ->
    case ets:info(Ets, type) of
        bag ->
            ok = check_records(Ets, Records),
            lists:all(fun(Record) -> ets:insert(Ets, Record) end, Records);
        _ ->
            ets:insert(Ets, Records)
    end;
insert_list(_Ets, _Records) ->
    error(badarg).

-spec done(true | [true]) -> ok.
done(true) -> ok;
done(AllTrue) when is_list(AllTrue) -> ok.

-spec check_records(ets:table(), [term()]) -> ok.
check_records(Ets, Records) ->
    KeyPos = ets:info(Ets, keypos),
    case lists:all(fun(Record) -> is_tuple(Record) andalso tuple_size(Record) >= KeyPos end, Records) of
        true -> ok;
        false -> error(badarg)
    end.

%% ---------------------------------------------------------------- a table that is not there

%% What can be seen to be no record or no list is `badarg' without any table; the contract's reasons for the rest.
-spec missing(ferrets:table(), call()) -> same | difference().
missing(Tab, {Module, Function, _, Arguments} = Call) ->
    Expected = expected_of_missing(Module, Function, Arguments),
    case {Expected, ask(Tab, Call)} of
        {Answer, Answer} -> same;
        {noproc, {exit, {noproc, {gen_server, call, _}}}} -> same;
        {noproc_later, {returned, {error, {noproc, _}}}} -> same;
        {_, Found} -> {differs, Call, Expected, Found}
    end.

-spec expected_of_missing(module(), atom(), [term()]) -> answer() | noproc | noproc_later.
expected_of_missing(ferrets_local, _Function, _Arguments) ->
    {error, badarg};
expected_of_missing(ferrets, Function, [Argument]) ->
    case {has_shape(Function, Argument), is_request(Function)} of
        {true, true} -> noproc_later;
        {true, false} -> noproc;
        {false, _} -> {error, badarg}
    end;
expected_of_missing(ferrets, _Read, _Arguments) ->
    {error, badarg}.

%% Whether it is a write, and of something that some table would take.
-spec has_shape(atom(), term()) -> boolean().
has_shape(insert_request, Argument) -> is_tuple(Argument) orelse has_shape(insert_many, Argument);
has_shape(Function, Argument) when
    Function =:= insert; Function =:= insert_new; Function =:= insert_new_or_lookup; Function =:= insert_serial;
    Function =:= delete_object; Function =:= delete_object_request
->
    is_tuple(Argument);
has_shape(Function, Argument) when
    Function =:= insert_many; Function =:= insert_many_request; Function =:= delete_objects;
    Function =:= delete_objects_request
->
    is_proper(Argument) andalso lists:all(fun is_tuple/1, Argument);
has_shape(Function, Argument) when Function =:= delete_many; Function =:= delete_many_request ->
    is_proper(Argument);
has_shape(Function, _Argument) ->
    Function =:= delete orelse Function =:= delete_request.

-spec is_proper(term()) -> boolean().
is_proper(List) -> is_list(List) andalso is_list(lists_end(List)).

-spec lists_end(maybe_improper_list()) -> term().
lists_end([_ | Tail]) -> lists_end(Tail);
lists_end(End) -> End.

%% ---------------------------------------------------------------- showing

%% As it could be typed, but for terms that have no such form.
-spec call_to_string(call() | atom()) -> string().
call_to_string(Walk) when is_atom(Walk) ->
    atom_to_list(Walk);
call_to_string({Module, Function, Via, Arguments}) ->
    Shown = [to_string(Argument) || Argument <- Arguments],
    lists:flatten([atom_to_list(Module), $:, atom_to_list(Function), $(, lists:join(", ", [atom_to_list(Via) | Shown]), $)]).

%% On one line, and not all of a long one.
-spec to_string(term()) -> iolist().
to_string(Term) ->
    io_lib:format("~0tP", [Term, ?SHOWN_MAX]).
