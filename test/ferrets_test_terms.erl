%%% Terms that tables are likely to get wrong, as PropEr generators.
%%%
%%% Keys come in small pools in which equal terms stand beside identical ones (1 and 1.0, also deep inside of tuples,
%%% lists and maps), since that is where `set' and `ordered_set' differ and where hashes and comparisons must agree.
%%%
%%% PropEr's macros are not used: Debian has them in another package than PropEr itself, for nothing but names of the
%%% functions called here. A term is wrapped in `exactly/1' wherever PropEr would take it for a generator.
-module(ferrets_test_terms).

-export([pool/0, term/0, no_record/0, no_list/0, native_records/0]).
-export([let_be/2, twin/1, neighbour/1]).

-export_type([generator/0]).

-type generator() :: proper_types:raw_type().

%% Deeper than what is nested by hand, and than a depth at which equal keys were once lost.
-define(DEEP, 210).

%% ---------------------------------------------------------------- pools

%% Some terms, most of them beside others that are almost the same.
-spec pool() -> generator().
pool() ->
    let_be({term(), some(member())}, fun({First, More}) -> [First | lists:append(More)] end).

-spec member() -> generator().
member() ->
    let_be({term(), proper_types:range(1, 6)}, fun
        ({Term, Kind}) when Kind =< 3 -> [Term, twin(Term)];
        ({Term, 4}) -> [Term, neighbour(Term)];
        ({Term, 5}) -> [Term, twin(Term), {Term}, {twin(Term)}];
        ({Term, 6}) -> [Term]
    end).

%% ---------------------------------------------------------------- terms

-spec term() -> generator().
term() ->
    term(3).

-spec term(non_neg_integer()) -> generator().
term(0) ->
    leaf();
term(Depth) ->
    %% Made when it is needed: all of them at once would be very many.
    Sub = proper_types:lazy(fun() -> term(Depth - 1) end),
    proper_types:frequency([
        {12, leaf()},
        {3, let_be(some(Sub), fun erlang:list_to_tuple/1)},
        {2, some(Sub)},
        {1, let_be({Sub, Sub}, fun({Head, Tail}) -> [Head | Tail] end)},
        {2, let_be({Sub, Sub, Sub}, fun({Key, Value, Other}) -> #{Key => Value, a => Other} end)},
        {1, let_be({Sub, Sub, proper_types:range(31, 40)}, fun({Key, Value, Size}) -> large_map(Key, Value, Size) end)},
        {1, let_be({Sub, proper_types:range(1, 4)}, fun({Term, Kind}) -> deep(Kind, ?DEEP, Term) end)}
    ]).

%% None to four of them: PropEr's own lists grow with the run.
-spec some(generator()) -> generator().
some(Type) ->
    proper_types:resize(4, proper_types:list(Type)).

%% Above 32 keys a map is a tree.
-spec large_map(term(), term(), pos_integer()) -> map().
large_map(Key, Value, Size) ->
    maps:put(Key, Value, maps:from_list([{I, I} || I <- lists:seq(1, Size)])).

-spec deep(1..4, non_neg_integer(), term()) -> term().
deep(_Kind, 0, Term) -> Term;
deep(1, N, Term) -> {deep(1, N - 1, Term)};
deep(2, N, Term) -> [deep(2, N - 1, Term)];
deep(3, N, Term) -> [x | deep(3, N - 1, Term)];
deep(4, N, Term) -> #{x => deep(4, N - 1, Term)}.

%% Shrinks towards the first. `exactly/1' because a leaf may be a tuple or a list.
-spec leaf() -> generator().
leaf() ->
    Leaves = leaves(),
    let_be(proper_types:range(1, tuple_size(Leaves)), fun(I) -> element(I, Leaves) end).

%% Made once: references and local funs must be the same in all of a run.
-spec leaves() -> tuple().
leaves() ->
    case persistent_term:get(?MODULE, none) of
        none ->
            Leaves = list_to_tuple(numbers() ++ handles() ++ binaries() ++ others() ++ native_records()),
            persistent_term:put(?MODULE, Leaves),
            Leaves;
        Leaves ->
            Leaves
    end.

-spec numbers() -> [number()].
numbers() ->
    Big = trunc(1.0e300),
    [0, 1, 1.0, 0.0, -0.0, 2, -1, -1.0, 0.5, -7, 255, 256] ++
        [(1 bsl 53) - 1, 1 bsl 53, (1 bsl 53) + 1, float(1 bsl 53), float((1 bsl 53) + 2)] ++
        [(1 bsl 59) - 1, 1 bsl 59, -(1 bsl 59), -(1 bsl 59) - 1, float(1 bsl 59), (1 bsl 64) + 1, float(1 bsl 64)] ++
        [1 bsl 80, float(1 bsl 80), -(1 bsl 80), 1.0e300, Big, Big + 1, -1.0e300, 1.7976931348623157e308, 5.0e-324].

-spec handles() -> [pid() | port() | reference() | fun()].
handles() ->
    [self(), hd(erlang:ports()), make_ref(), make_ref()] ++
        %% A reference with a life of its own.
        [atomics:new(1, [])] ++
        [foreign(Kind, Node, N) || Kind <- [pid, port, reference], Node <- [<<"a@nowhere">>, <<"b@nowhere">>], N <- [1, 2]] ++
        [fun lists:map/2, fun lists:map/3, fun no_module:at_all/0] ++
        [capturing(Captured) || Captured <- [1, 1.0, a, 1 bsl 70]].

-spec capturing(term()) -> fun(() -> term()).
capturing(Term) ->
    fun() -> Term end.

%% A handle of a node that does not exist, by way of the external term format.
-spec foreign(pid | port | reference, binary(), pos_integer()) -> pid() | port() | reference().
foreign(Kind, Node, Number) ->
    Name = <<119, (byte_size(Node)), Node/binary>>,
    Creation = 77,
    Body =
        case Kind of
            pid -> <<88, Name/binary, Number:32, 3:32, Creation:32>>;
            port -> <<89, Name/binary, Number:32, Creation:32>>;
            reference -> <<90, 3:16, Name/binary, Creation:32, Number:32, 5:32, 6:32>>
        end,
    binary_to_term(<<131, Body/binary>>).

-spec binaries() -> [bitstring()].
binaries() ->
    Large = binary:copy(<<1, 2, 3, 4, 5, 6, 7, 8>>, 40),
    <<_:3, Unaligned:70/binary, _/bits>> = Large,
    [binary:copy(<<"x">>, Size) || Size <- [0, 1, 63, 64, 65]] ++
        [binary:part(Large, 3, 80), binary:part(Large, 8, 20), Unaligned, Large] ++
        [<<1:1>>, <<5:7>>, <<0:9>>, <<Large/binary, 1:1>>].

-spec others() -> [term()].
others() ->
    [a, b, '', 'ärgerlich', true, undefined, start, done, [], "text", {}, #{}, [a | b], #{1 => a}, #{1.0 => a}].

%% Of which the NIF interface knows nothing. None before OTP 29, which brought them: so they come by way of the external term format.
-spec native_records() -> [term()].
native_records() ->
    Named = fun(Name, Value) ->
        Atom = fun(Text) -> <<119, (byte_size(Text)), Text/binary>> end,
        <<131, Body/binary>> = term_to_binary(Value),
        binary_to_term(<<131, 67, 1:32, 1, (Atom(<<"b">>))/binary, (Atom(Name))/binary, (Atom(<<"field">>))/binary, Body/binary>>)
    end,
    case list_to_integer(erlang:system_info(otp_release)) of
        Release when Release < 29 -> [];
        _ -> [Named(Name, Value) || Name <- [<<"x">>, <<"y">>], Value <- [1, 1.0, {a, "list"}]]
    end.

%% ---------------------------------------------------------------- almost the same

%% The term with each integer made the float that equals it, and the other way round, where there is one. Equal by
%% `==', but for keys of maps.
-spec twin(term()) -> term().
twin(Integer) when is_integer(Integer) ->
    try float(Integer) of
        Float when Float == Integer -> Float;
        _ -> Integer
    catch
        error:badarg -> Integer
    end;
twin(Float) when is_float(Float) ->
    case trunc(Float) of
        Integer when Integer == Float -> Integer;
        _ -> Float
    end;
twin([Head | Tail]) -> [twin(Head) | twin(Tail)];
twin(Tuple) when is_tuple(Tuple) -> list_to_tuple(twin(tuple_to_list(Tuple)));
twin(Map) when is_map(Map) -> maps:map(fun(_, Value) -> twin(Value) end, Map);
%% Funs are equal if what they have captured is.
twin(Fun) when is_function(Fun, 0) ->
    case erlang:fun_info(Fun, env) of
        {env, [Captured]} -> capturing(twin(Captured));
        _ -> Fun
    end;
twin(Other) -> Other.

%% A term that differs a little, keys of maps included.
-spec neighbour(term()) -> term().
neighbour(Integer) when is_integer(Integer) -> Integer + 1;
neighbour(Float) when is_float(Float) -> -Float;
neighbour([Head | Tail]) -> [neighbour(Head) | Tail];
neighbour(Tuple) when tuple_size(Tuple) > 0 -> setelement(1, Tuple, neighbour(element(1, Tuple)));
neighbour(Map) when is_map(Map) -> maps:from_list([{twin(Key), Value} || {Key, Value} <- maps:to_list(Map)]);
neighbour(Bits) when is_bitstring(Bits) -> <<Bits/bits, 0:1>>;
neighbour(Other) -> [Other].

%% ---------------------------------------------------------------- what is none

%% Neither a tuple nor a list.
-spec no_record() -> generator().
no_record() ->
    let_be(term(), fun
        (Term) when is_tuple(Term); is_list(Term) -> #{record => Term};
        (Term) -> Term
    end).

%% Not a list, not even an improper one.
-spec no_list() -> generator().
no_list() ->
    let_be(term(), fun
        (Term) when is_list(Term) -> {Term};
        (Term) -> Term
    end).

%% PropEr's ?LET, of a function whose result is a term.
-spec let_be(generator(), fun((term()) -> term())) -> generator().
let_be(Type, Fun) ->
    proper_types:bind(Type, fun(Value) -> proper_types:exactly(Fun(Value)) end, false).
