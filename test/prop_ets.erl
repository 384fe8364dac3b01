%%% A table does what `ets' does on a table of the same type: properties and their cases.
%%%
%%% A case is a type, the key's position, a pool of keys and a list of calls on them, which are made on one of our tables
%%% and on one of `ets' side by side (`ferrets_test_oracle'). Calls are drawn as places in the pools, so that they meet on
%%% the same keys and shrink to the first of them; a counterexample shows the calls themselves.
%%%
%%% `ferrets_prop_SUITE' runs them. Each of these mistakes, made on purpose, was caught within some thousand cases: `prev' that
%%% is `next', `foldr' that is `foldl', an occupied key's record mistaken for the caller's, a local list inserted up to
%%% its bad element, a write to no table that returns; in the library: `delete_object' of an equal record, equal numbers (large
%%% ones, those in funs) hashed apart, a walk that stops at two keys of one hash or leaves out the first record of a
%%% page, a page looked for on the wrong side of its fence. Two were found that nobody had made on purpose: see
%%% `ferrets_prop_SUITE', and `lookup_element/4' of an impossible position.
-module(prop_ets).

-export([types/0, agrees/1, refuses/1, is_large/1, is_copied/1, is_missed/0]).
-export([run/1, to_string/2]).

-export_type(['case'/0]).

-define(TAB, ?MODULE).
-define(COPY, prop_ets_copy).

-define(TYPES, [ordered_set, set, bag]).

%% A page holds at most 256 records.
-define(RANGE_MAX, 700).

-type 'case'() ::
    {Property :: agrees | refuses | is_large | is_copied | is_missed, ferrets_test_oracle:type(), KeyPos :: pos_integer(),
        Keys :: [term()], [ferrets_test_oracle:call()]}.
%% What a call is made of: keys, values, records, something that is no record, something that is no list.
-type pools() :: #{keys := tuple(), records := tuple(), no_record := term(), no_list := term(), keypos := pos_integer()}.
%% A kind of call with places in the pools, which are taken round and round.
-type sketch() :: {Kind :: atom(), ferrets_test_oracle:via(), [pos_integer()]}.

-spec types() -> [ferrets_test_oracle:type()].
types() -> ?TYPES.

%% ---------------------------------------------------------------- properties

%% Any calls: each answers as in `ets', and in the end all reads find the same.
-spec agrees(ferrets_test_oracle:type()) -> proper:test().
agrees(Type) ->
    property(a_case(agrees, Type, 25, fun(Good, Bad) -> proper_types:frequency([{9, Good}, {1, Bad}]) end)).

%% A caller's mistake raises as in `ets' and changes nothing.
-spec refuses(ferrets_test_oracle:type()) -> proper:test().
refuses(Type) ->
    property(a_case(refuses, Type, 10, fun(_Good, Bad) -> Bad end)).

%% Some thousand records: pages fill, split and merge.
-spec is_large(ferrets_test_oracle:type()) -> proper:test().
is_large(Type) ->
    Calls = proper_types:resize(12, proper_types:list(range_call())),
    property({is_large, Type, proper_types:range(1, 3), [], Calls}).

%% Any calls on a table that is linked with another one: both hold the same records in the end, down to the last bit.
-spec is_copied(ferrets_test_oracle:type()) -> proper:test().
is_copied(Type) ->
    property(a_case(is_copied, Type, 15, fun(Good, _Bad) -> Good end)).

%% No call takes a table that is not there for one that is empty.
-spec is_missed() -> proper:test().
is_missed() ->
    property(a_case(is_missed, set, 15, fun(Good, Bad) -> proper_types:frequency([{3, Good}, {1, Bad}]) end)).

-spec property(ferrets_test_terms:generator()) -> proper:test().
property(Cases) ->
    proper:forall(Cases, fun(Case) -> run(Case) =:= same end).

%% ---------------------------------------------------------------- running a case

-spec run('case'()) -> same | ferrets_test_oracle:difference().
run({is_missed, _Type, _KeyPos, _Keys, Calls}) ->
    first_difference([fun() -> ferrets_test_oracle:missing(no_such_table, Call) end || Call <- Calls]);
run({Property, Type, KeyPos, Keys, Calls}) ->
    Ets = ets:new(oracle, [Type, {keypos, KeyPos}]),
    {ok, Server} = ferrets:start(?TAB, #{type => Type, keypos => KeyPos}),
    try
        Copies = [start_copy(Type, KeyPos, Server) || Property =:= is_copied],
        Difference = first_difference([
            fun() -> ferrets_test_oracle:differ(Type, Ets, ?TAB, all_calls(Property, KeyPos, Calls)) end,
            fun() -> same_contents(Type, Ets, Keys) end,
            fun() -> is_unharmed(Server) end
            | [fun same_copy/0 || _ <- Copies]
        ]),
        [ok = ferrets:stop(Copy) || Copy <- Copies],
        Difference
    after
        true = ets:delete(Ets),
        ok = ferrets:stop(Server)
    end.

-spec start_copy(ferrets_test_oracle:type(), pos_integer(), pid()) -> pid().
start_copy(Type, KeyPos, Server) ->
    {ok, Copy} = ferrets:start(?COPY, #{type => Type, keypos => KeyPos}),
    ok = ferrets_join:join(?MODULE, #{}, Copy, Server),
    Copy.

%% Equal is not enough: 1.0 is not 1, nor a map with its keys in another order the same.
-spec same_copy() -> same | ferrets_test_oracle:difference().
same_copy() ->
    [Records, Copied] = [lists:sort([term_to_binary(Record) || Record <- ferrets:tab2list(Tab)]) || Tab <- [?TAB, ?COPY]],
    case {Records -- Copied, Copied -- Records} of
        {[], []} -> same;
        {Missing, Surplus} -> {differs, copy, lists:map(fun binary_to_term/1, Missing), lists:map(fun binary_to_term/1, Surplus)}
    end.

-spec first_difference([fun(() -> same | ferrets_test_oracle:difference())]) ->
    same | ferrets_test_oracle:difference().
first_difference([]) ->
    same;
first_difference([Check | Checks]) ->
    case Check() of
        same -> first_difference(Checks);
        Difference -> Difference
    end.

-spec all_calls(atom(), pos_integer(), [ferrets_test_oracle:call()]) -> [ferrets_test_oracle:call()].
all_calls(refuses, _KeyPos, Calls) -> lists:append([[Call, read(dump, [])] || Call <- Calls]);
all_calls(is_large, KeyPos, Calls) -> [expand(KeyPos, Call) || Call <- Calls];
%% What is done to one table alone is not copied.
all_calls(is_copied, _KeyPos, Calls) -> [Call || {ferrets, _, _, _} = Call <- Calls];
all_calls(agrees, _KeyPos, Calls) -> Calls.

%% Every read of everything: of all keys that are there, and of those that are not or no more.
-spec same_contents(ferrets_test_oracle:type(), ets:table(), [term()]) -> same | ferrets_test_oracle:difference().
same_contents(Type, Ets, Keys) ->
    KeyPos = ets:info(Ets, keypos),
    Present = [element(KeyPos, Record) || Record <- ets:tab2list(Ets)],
    ByKey = lists:append([reads_of(Key, KeyPos) || Key <- Keys ++ Present ++ [ferrets_test_terms:twin(K) || K <- Present]]),
    Whole = [read(Function, []) || Function <- [size, info_size, tab2list, dump, foldl, foldr, remote_dump, first, last]],
    case ferrets_test_oracle:differ(Type, Ets, ?TAB, Whole ++ ByKey) of
        same -> ferrets_test_oracle:walks_differ(Type, Ets, ?TAB);
        Difference -> Difference
    end.

-spec reads_of(term(), pos_integer()) -> [ferrets_test_oracle:call()].
reads_of(Key, KeyPos) ->
    [read(Function, [Key]) || Function <- [lookup, member, next, prev]] ++
        [read(lookup_element, [Key, KeyPos]), read(lookup_element, [Key, KeyPos + 1, none])].

-spec read(atom(), [term()]) -> ferrets_test_oracle:call().
read(Function, Arguments) ->
    {ferrets, Function, name, Arguments}.

%% The same server, and nothing left in the caller's mailbox.
-spec is_unharmed(pid()) -> same | ferrets_test_oracle:difference().
is_unharmed(Server) ->
    case {whereis(?TAB), process_info(self(), messages)} of
        {Server, {messages, []}} -> same;
        Found -> {differs, server_and_mailbox, {Server, {messages, []}}, Found}
    end.

%% ---------------------------------------------------------------- cases

-spec a_case(atom(), ferrets_test_oracle:type(), pos_integer(), fun()) -> ferrets_test_terms:generator().
a_case(Property, Type, Length, Choose) ->
    Places = proper_types:resize(4, proper_types:list(place())),
    Via = proper_types:elements([name, name, local, pid]),
    Sketch = {Choose(kinds(good()), kinds(bad())), Via, Places},
    Draft =
        {proper_types:range(1, 3), ferrets_test_terms:pool(), ferrets_test_terms:pool(),
            proper_types:resize(8, proper_types:list({place(), Places})), ferrets_test_terms:no_record(),
            ferrets_test_terms:no_list(), proper_types:resize(Length, proper_types:list(Sketch))},
    ferrets_test_terms:let_be(Draft, fun({KeyPos, Keys, Values, Records, NoRecord, NoList, Sketches}) ->
        Pools = #{
            keypos => KeyPos,
            keys => list_to_tuple(Keys),
            records => records(KeyPos, list_to_tuple(Keys), list_to_tuple(Values), [{1, []} | Records]),
            no_record => NoRecord,
            no_list => NoList
        },
        %% A mistake should find something to spoil, and something to add.
        First = [{insert_many, name, lists:seq(1, length(Records) div 2 + 1)} || Property =:= refuses],
        {Property, Type, KeyPos, Keys, [call(One, Pools) || One <- First ++ Sketches]}
    end).

-spec place() -> ferrets_test_terms:generator().
place() ->
    proper_types:range(1, 50).

-spec kinds([{pos_integer(), [atom()]}]) -> ferrets_test_terms:generator().
kinds(Weighted) ->
    proper_types:elements(lists:append([lists:append(lists:duplicate(Weight, Kinds)) || {Weight, Kinds} <- Weighted])).

-spec good() -> [{pos_integer(), [atom()]}].
good() ->
    [
        {6, [insert, insert_many, delete]},
        {3, [delete_object, delete_objects, delete_many, local_insert]},
        {2, [insert_new, insert_new_or_lookup, insert_serial, next, prev, lookup]},
        {2, [local_insert_many, local_delete, local_delete_object]},
        {1, [insert_request, insert_request_of_many, insert_many_request, delete_request, delete_many_request]},
        {1, [delete_object_request, delete_objects_request, local_delete_all_objects, local_delete_owned]},
        {1, [lookup_element, lookup_element_or, member, first, last, size, tab2list, dump, foldl, foldr]}
    ].

-spec bad() -> [{pos_integer(), [atom()]}].
bad() ->
    [
        {2, [bad_insert, bad_insert_new, bad_delete_object, bad_local_insert, bad_local_delete_object]},
        {4, [bad_insert_many, bad_delete_objects, bad_local_insert_many]},
        {1, [bad_delete_many, bad_position, bad_position_or]}
    ].

-spec records(pos_integer(), tuple(), tuple(), [{pos_integer(), [pos_integer()]}]) -> tuple().
records(KeyPos, Keys, Values, Sketches) ->
    list_to_tuple([
        begin
            Others = [at(I, Values) || I <- Places] ++ lists:duplicate(max(0, KeyPos - 1 - length(Places)), filler),
            {Before, After} = lists:split(KeyPos - 1, Others),
            list_to_tuple(Before ++ [at(Place, Keys) | After])
        end
     || {Place, Places} <- Sketches
    ]).

-spec at(pos_integer(), tuple()) -> term().
at(Place, Pool) ->
    element(1 + (Place - 1) rem tuple_size(Pool), Pool).

%% ---------------------------------------------------------------- calls

-spec call(sketch(), pools()) -> ferrets_test_oracle:call().
call({Kind, Via, []}, Pools) ->
    argued(Kind, Via, [1], Pools, []);
call({Kind, Via, Places}, Pools) ->
    argued(Kind, Via, Places, Pools, Places).

%% `Places' has at least one element; `Some' may have none.
-spec argued(atom(), ferrets_test_oracle:via(), [pos_integer()], pools(), [pos_integer()]) -> ferrets_test_oracle:call().
argued(Kind, Via, [Place | _] = Places, #{keys := Keys, records := Records} = Pools, Some) ->
    Key = at(Place, Keys),
    Record = at(Place, Records),
    Many = [at(I, Records) || I <- Some],
    case Kind of
        insert_request_of_many -> {ferrets, insert_request, Via, [Many]};
        local_insert -> {ferrets_local, insert, name, [Record]};
        local_insert_many -> {ferrets_local, insert, name, [Many]};
        local_delete -> {ferrets_local, delete, name, [Key]};
        local_delete_object -> {ferrets_local, delete_object, name, [Record]};
        local_delete_all_objects -> {ferrets_local, delete_all_objects, name, []};
        local_delete_owned -> {ferrets_local, delete_owned, name, ['another@nowhere']};
        lookup_element -> read(lookup_element, [Key, 1 + lists:sum(Places) rem 4]);
        lookup_element_or -> read(lookup_element, [Key, 1 + lists:sum(Places) rem 4, Record]);
        bad_insert -> {ferrets, insert, Via, [bad_record(Places, Pools)]};
        bad_insert_new ->
            {ferrets, at(Place, {insert_new, insert_new_or_lookup, insert_serial}), Via, [bad_record(Places, Pools)]};
        bad_delete_object ->
            {ferrets, at(Place, {delete_object, delete_object_request}), Via, [bad_record(Places, Pools)]};
        bad_insert_many ->
            {ferrets, at(Place, {insert_many, insert_many_request}), Via, [bad_list(Many, Places, Pools)]};
        bad_delete_objects ->
            {ferrets, at(Place, {delete_objects, delete_objects_request}), Via, [bad_list(Many, Places, Pools)]};
        bad_delete_many ->
            {ferrets, at(Place, {delete_many, delete_many_request}), Via, [not_proper(Many, Pools)]};
        bad_local_insert -> {ferrets_local, insert, name, [short_record(Places, Pools)]};
        bad_local_delete_object -> {ferrets_local, delete_object, name, [bad_record(Places, Pools)]};
        bad_local_insert_many -> {ferrets_local, insert, name, [bad_list(Many, Places, Pools)]};
        bad_position -> read(lookup_element, [Key, at(Place, {0, 99, -1, 1.0, one})]);
        bad_position_or -> read(lookup_element, [Key, at(Place, {0, 99, -1, 1.0, one}), Record]);
        _ when Kind =:= delete; Kind =:= delete_request -> {ferrets, Kind, Via, [Key]};
        _ when Kind =:= delete_many; Kind =:= delete_many_request -> {ferrets, Kind, Via, [[at(I, Keys) || I <- Some]]};
        _ when Kind =:= lookup; Kind =:= member; Kind =:= next; Kind =:= prev -> read(Kind, [Key]);
        _ when Kind =:= first; Kind =:= last; Kind =:= size; Kind =:= tab2list; Kind =:= dump -> read(Kind, []);
        _ when Kind =:= foldl; Kind =:= foldr -> read(Kind, []);
        _ when Kind =:= insert_many; Kind =:= insert_many_request -> {ferrets, Kind, Via, [Many]};
        _ when Kind =:= delete_objects; Kind =:= delete_objects_request -> {ferrets, Kind, Via, [Many]};
        %% What is left takes one record.
        _ -> {ferrets, Kind, Via, [Record]}
    end.

%% A list is none either: `insert/2' is not `insert_many/2'.
-spec bad_record([pos_integer()], pools()) -> term().
bad_record(Places, #{records := Records} = Pools) ->
    case lists:sum(Places) rem 4 of
        0 -> [element(1, Records)];
        1 -> [];
        _ -> short_record(Places, Pools)
    end.

-spec short_record([pos_integer()], pools()) -> term().
short_record(Places, #{keypos := KeyPos, no_record := NoRecord}) ->
    case lists:sum(Places) rem 2 of
        0 -> erlang:make_tuple(KeyPos - 1, short);
        1 -> NoRecord
    end.

%% Good records, once or so often that they are more than are written at a time, with something wrong among them, behind
%% them or around them.
-spec bad_list([tuple()], [pos_integer()], pools()) -> term().
bad_list(Many, [Place | _] = Places, Pools) ->
    Good = lists:append(lists:duplicate(1 + Place rem 30, Many)),
    case Place rem 3 of
        0 ->
            not_proper(Good, Pools);
        _ ->
            {Before, After} = lists:split(length(Good) - Place rem (length(Many) + 1), Good),
            Before ++ [short_record(Places, Pools) | After]
    end.

%% `lists:append/2' makes an improper list of what follows, or what follows alone.
-spec not_proper([term()], pools()) -> term().
not_proper(Terms, #{no_list := NoList}) ->
    Terms ++ NoList.

%% ---------------------------------------------------------------- calls on many records

%% As a range, so that it can be shown: from, how many, how far apart, of which kind.
-spec range_call() -> ferrets_test_terms:generator().
range_call() ->
    Kind = proper_types:elements([integer, float, tuple, mixed]),
    Range = {range, proper_types:range(1, 2000), proper_types:range(0, ?RANGE_MAX), proper_types:range(1, 5), Kind},
    Stamp = proper_types:range(1, 3),
    Functions = [{4, insert_many}, {2, delete_many}, {1, delete_objects}, {1, insert_many_request}],
    Replicated = {ferrets, proper_types:frequency(Functions), name, [{Range, Stamp}]},
    Local = {ferrets_local, insert, name, [{Range, Stamp}]},
    proper_types:frequency([{9, Replicated}, {1, Local}]).

-spec expand(pos_integer(), ferrets_test_oracle:call()) -> ferrets_test_oracle:call().
expand(KeyPos, {Module, Function, Via, [{{range, From, Count, Step, Kind}, Stamp}]}) ->
    Keys = [key(Kind, From + I * Step) || I <- lists:seq(0, Count - 1)],
    Terms =
        case Function of
            delete_many -> Keys;
            _ -> [setelement(KeyPos, {Stamp, Stamp, Stamp, binary:copy(<<Stamp>>, 40 * Stamp)}, Key) || Key <- Keys]
        end,
    {Module, Function, Via, [Terms]}.

-spec key(integer | float | tuple | mixed, pos_integer()) -> term().
key(integer, I) -> I;
key(float, I) -> float(I);
key(tuple, I) -> {I rem 7, I};
key(mixed, I) when I rem 3 =:= 0 -> {float(I rem 7), I};
key(mixed, I) when I rem 3 =:= 1 -> I + 0.5;
key(mixed, I) -> <<I:16>>.

%% ---------------------------------------------------------------- showing

%% What was done and what came of it.
-spec to_string('case'(), same | ferrets_test_oracle:difference()) -> string().
to_string({Property, Type, KeyPos, _Keys, Calls}, Result) ->
    Lines = [["    ", ferrets_test_oracle:call_to_string(Call), "\n"] || Call <- Calls],
    lists:flatten([io_lib:format("~s: ~s with keypos ~b~n", [Property, Type, KeyPos]), Lines, result_to_string(Result)]).

-spec result_to_string(same | ferrets_test_oracle:difference()) -> iolist().
result_to_string(same) ->
    "but not when it is run again: something else has a part in it\n";
result_to_string({differs, Call, Expected, Found}) ->
    Shown = [ferrets_test_oracle:to_string(Answer) || Answer <- [Expected, Found]],
    io_lib:format("~ts~n  should be ~ts~n  and is    ~ts~n", [ferrets_test_oracle:call_to_string(Call) | Shown]).
