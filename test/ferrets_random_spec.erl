%%% Random tables, patterns and match specifications, from the process's random numbers (`rand:seed').
%%%
%%% PropEr's own combinators take some 20 ms for one specification, these some 50 us. What is random there is a seed.
-module(ferrets_random_spec).

-export([table/1, spec/3, record/1, expression/1, any_spec/1, limit/0, value/1]).

%% ---------------------------------------------------------------- tables

%% The position of the key, and records.
table(Size) ->
    Pos = choose([{4, 1}, {1, 2}]),
    {Pos, many(Size, fun() -> record(Pos) end)}.

record(1) ->
    draw([
        {1, fun() -> {key()} end},
        {4, fun() -> {key(), value(2)} end},
        {3, fun() -> {key(), value(2), value(1)} end}
    ]);
record(2) ->
    draw([{4, fun() -> {value(1), key()} end}, {3, fun() -> {value(1), key(), value(2)} end}]).

%% Few different ones, so that they meet.
key() ->
    draw([
        {4, fun leaf/0},
        {3, fun() -> {atom(), leaf()} end},
        {3, fun() -> {atom(), atom(), leaf()} end},
        {1, fun() -> {atom(), {leaf(), atom()}} end},
        {1, fun() -> {leaf(), [atom(), leaf()], atom()} end},
        {2, fun() -> [atom(), leaf()] end},
        {1, fun() -> [atom() | leaf()] end},
        {1, fun() -> #{atom() => leaf()} end},
        {1, fun() -> {#{atom() => leaf()}, leaf()} end}
    ]).

atom() -> one([a, b]).

leaf() ->
    draw([
        {6, fun() -> one([0, 1, 2, -1]) end},
        {3, fun() -> one([0.0, -0.0, 1.0, 2.5, -1.5]) end},
        {4, fun() -> one([a, b, true, false]) end},
        {2, fun() -> one([[], {}, #{}, <<>>, <<"ab">>, <<1:3>>, binary:copy(<<"x">>, 70)]) end},
        {2, fun() -> one([1 bsl 59, -(1 bsl 59), 1 bsl 63, -(1 bsl 63), (1 bsl 64) + 1, -(1 bsl 70), 1 bsl 53]) end},
        {1, fun() -> one([float(1 bsl 53), 1.0e300, trunc(1.0e300), 1 bsl 1030, 1.5e-300]) end},
        {2, fun() -> one([self(), remote_pid(), reference(), hd(erlang:ports()), fun lists:map/2, fun erlang:node/0] ++ ferrets_test_terms:native_records()) end}
    ]).

%% Of a node that does not exist.
remote_pid() ->
    binary_to_term(<<131, 88, 119, 9, "n@nowhere", 7:32, 0:32, 1:32>>).

%% The same one each time.
reference() ->
    binary_to_term(<<131, 90, 3:16, 119, 9, "n@nowhere", 1:32, 5:32, 6:32, 7:32>>).

value(0) ->
    leaf();
value(N) ->
    Sub = fun() -> value(N - 1) end,
    draw([
        {6, fun leaf/0},
        {1, fun() -> {Sub(), Sub()} end},
        {1, fun() -> {Sub()} end},
        {1, fun() -> [Sub(), Sub()] end},
        {1, fun() -> [Sub() | Sub()] end},
        {1, fun() -> #{atom() => Sub()} end},
        {1, fun() -> #{leaf() => Sub(), a => Sub()} end},
        {1, fun() -> maps:from_list([{I, Sub()} || I <- lists:seq(1, one([1, 32, 33, 40]))]) end}
    ]).

%% ---------------------------------------------------------------- specifications

%% A well-formed one, but for what is random in it.
spec(Size, Pos, Records) ->
    draw([
        {9, fun() -> [clause(Pos, Records) | many(Size, fun() -> clause(Pos, Records) end)] end},
        {1, fun() -> one([[], [{'_', [], ['$_']}], [{'$1', [], ['$1']}]]) end}
    ]).

clause(Pos, Records) ->
    Head = head(Pos, Records),
    Rest = {guards(), body()},
    {Guards, Body} =
        case rand:uniform(15) of
            1 -> Rest;
            _ -> bind(Rest, ['$_' | [Name || Name <- names(), is_in(Name, Head)]])
        end,
    {Head, Guards, Body}.

names() -> ['$0', '$1', '$2', '$3', '$10'].

%% Puts what is bound in the place of variables that are not.
bind(Term, Bound) when is_tuple(Term) ->
    list_to_tuple([bind(Element, Bound) || Element <- tuple_to_list(Term)]);
bind([Head | Tail], Bound) ->
    [bind(Head, Bound) | bind(Tail, Bound)];
bind(Map, Bound) when is_map(Map) ->
    maps:map(fun(_, Value) -> bind(Value, Bound) end, Map);
bind(Term, Bound) ->
    case lists:member(Term, names()) andalso not lists:member(Term, Bound) of
        true -> one(Bound);
        false -> Term
    end.

is_in(Name, Tuple) when is_tuple(Tuple) -> is_in(Name, tuple_to_list(Tuple));
is_in(Name, [Head | Tail]) -> is_in(Name, Head) orelse is_in(Name, Tail);
is_in(Name, Map) when is_map(Map) -> is_in(Name, maps:values(Map));
is_in(Name, Term) -> Name =:= Term.

guards() ->
    draw([
        {6, fun() -> [] end},
        {3, fun() -> [truth(2)] end},
        {1, fun() -> [expression(2)] end},
        {1, fun() -> [truth(1), truth(2)] end}
    ]).

body() ->
    draw([
        {3, fun() -> ['$_'] end},
        {2, fun() -> ['$$'] end},
        {2, fun() -> [true] end},
        {2, fun() -> [truth(1)] end},
        {3, fun() -> [expression(2)] end},
        {1, fun() -> [expression(1), expression(2)] end}
    ]).

%% Mostly made from a record by opening parts of it.
head(Pos, Records) ->
    draw([
        {6, fun() -> opened_below(one([record(Pos) || Records =:= []] ++ Records)) end},
        {2, fun() -> opened_below(record(Pos)) end},
        {1, fun() -> opened(value(2)) end},
        {1, fun() -> one(['_', '$1']) end}
    ]).

opened_below(Tuple) ->
    list_to_tuple([opened(Element) || Element <- tuple_to_list(Tuple)]).

opened(Term) ->
    draw([{3, fun hole/0}, {2, fun() -> Term end}, {4, fun() -> opened_inside(Term) end}]).

opened_inside(Tuple) when is_tuple(Tuple) ->
    opened_below(Tuple);
opened_inside([Head | Tail]) ->
    [opened(Head) | opened(Tail)];
opened_inside(Map) when map_size(Map) > 0 ->
    Pairs = [{Key, opened(Value)} || {Key, Value} <- maps:to_list(Map)],
    maps:from_list(lists:sublist(Pairs, rand:uniform(length(Pairs))));
opened_inside(Zero) when Zero == 0 ->
    one([0, 0.0, -0.0]);
opened_inside(Leaf) ->
    draw([{5, fun() -> Leaf end}, {1, fun leaf/0}]).

hole() ->
    choose([{4, '_'}, {3, '$1'}, {2, '$2'}, {1, '$3'}, {1, '$10'}, {1, one(['$0', '$01', '$', '$a', '$_', '$$'])}]).

limit() ->
    draw([
        {8, fun() -> rand:uniform(4) end},
        {1, fun() -> rand:uniform(1000) end},
        {1, fun() -> one([0, -1, 1.0, a, infinity, 1 bsl 70]) end}
    ]).

%% ---------------------------------------------------------------- expressions

expression(0) ->
    draw([
        {4, fun variable/0},
        {4, fun leaf/0},
        {1, fun() -> {const, value(1)} end},
        {1, fun() -> one(['_', {self}, {node}]) end}
    ]);
expression(N) ->
    Sub = fun() -> expression(N - 1) end,
    draw([
        {3, fun() -> expression(0) end},
        {4, fun() -> {one(comparisons()), Sub(), Sub()} end},
        {3, fun() -> {one(tests()), Sub()} end},
        {4, fun() -> {one(unary()), Sub()} end},
        {5, fun() -> {one(binary()), Sub(), Sub()} end},
        {3, fun() -> truth(N) end},
        {1, fun() -> {is_record, Sub(), one([a, b, 1]), one([1, 2, -1, x])} end},
        {1, fun() -> {binary_part, Sub(), rand:uniform(5) - 2, rand:uniform(5) - 3} end},
        {2, fun() -> {one(['bsl', 'bsr']), Sub(), one(distances())} end},
        {2, fun() -> {{Sub(), Sub()}} end},
        {1, fun() -> one([{{}}, {{Sub()}}, [Sub(), Sub()], [Sub() | Sub()]]) end},
        {1, fun() -> one([#{a => Sub(), 1 => Sub()}, #{{{b}} => Sub()}]) end},
        {1, fun() ->
            %% Not more: `ets' of OTP 25 writes over its heap when a specification makes a map of over 32 keys.
            Value = Sub(),
            maps:from_list([{I, Value} || I <- lists:seq(1, 32)])
        end},
        {1, fun() ->
            case rand:uniform(4) of
                1 -> wrong(Sub());
                _ -> Sub()
            end
        end}
    ]).

%% Not offered, or not so.
wrong(Sub) ->
    one([
        {Sub}, {Sub, Sub}, {a, Sub}, {is_seq_trace}, {display, Sub}, {message, Sub}, {element, Sub}, {'and'}, {'orelse'},
        {const}, {const, Sub, Sub}, {}, {'$1'}, {'_', Sub}, {is_record, Sub, a}, {self, Sub}, {caller}, {return_trace},
        %% Since release 26.
        {ceil, Sub}, {floor, Sub}, {tuple_size, Sub}, {is_boolean, Sub}, {is_bitstring, Sub}, {is_function, Sub, 2},
        {max, Sub, 1}, {min, Sub, 1}
    ]).

truth(0) ->
    draw([
        {3, fun() -> one([true, false]) end},
        {3, fun() -> {one(comparisons()), variable(), leaf()} end},
        {2, fun() -> {one(tests()), variable()} end}
    ]);
truth(N) ->
    Sub = fun() -> truth(N - 1) end,
    draw([
        {3, fun() -> truth(0) end},
        {3, fun() -> list_to_tuple([one(['and', 'or', 'andalso', 'orelse']) | [Sub() | many(2, Sub)]]) end},
        {1, fun() -> {'xor', Sub(), Sub()} end},
        {1, fun() -> {'not', Sub()} end},
        {1, fun() -> {one(comparisons()), expression(N - 1), expression(N - 1)} end}
    ]).

variable() -> choose([{5, '$1'}, {3, '$2'}, {1, '$3'}, {1, '$_'}, {1, '$$'}, {1, '$10'}]).

comparisons() -> ['<', '=<', '>', '>=', '==', '/=', '=:=', '=/='].

tests() ->
    [is_atom, is_binary, is_float, is_function, is_integer, is_list, is_map, is_number, is_pid, is_port, is_reference] ++
        [is_tuple].

unary() ->
    [hd, tl, length, size, map_size, bit_size, byte_size, node, '+', '-', 'bnot', abs, round, trunc, float].

binary() ->
    ['+', '-', '*', '/', 'div', 'rem', 'band', 'bor', 'bxor', element, map_get, is_map_key, binary_part].

distances() -> [0, 1, 1, 2, 3, -1, 63, 64, -64, 200, -200, 1 bsl 45, -(1 bsl 45), 1 bsl 70, -(1 bsl 70)].

%% ---------------------------------------------------------------- anything

%% A term that may be taken for a specification.
any_spec(Size) ->
    draw([
        {1, fun() -> value(3) end},
        {4, fun() -> [any_clause() | many(Size, fun any_clause/0)] end},
        {1, fun() -> [any_clause() | value(1)] end}
    ]).

any_clause() ->
    draw([
        {1, fun() -> value(2) end},
        {6, fun() -> {any_part(), any_part(), any_part()} end},
        {1, fun() -> {any_part(), any_part()} end}
    ]).

any_part() ->
    draw([
        {2, fun() -> expression(2) end},
        {2, fun() -> opened(value(3)) end},
        {4, fun() -> many(2, fun() -> expression(2) end) end},
        {1, fun() -> [expression(1) | value(1)] end}
    ]).

%% ---------------------------------------------------------------- chance

many(Max, Draw) ->
    [Draw() || _ <- lists:seq(1, rand:uniform(Max + 1) - 1)].

one(List) ->
    lists:nth(rand:uniform(length(List)), List).

draw(Weighted) ->
    (choose(Weighted))().

choose(Weighted) ->
    choose(rand:uniform(lists:sum([Weight || {Weight, _} <- Weighted])), Weighted).

choose(N, [{Weight, Choice} | _]) when N =< Weight -> Choice;
choose(N, [{Weight, _} | Rest]) -> choose(N - Weight, Rest).
