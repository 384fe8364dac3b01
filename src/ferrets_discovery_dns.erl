%%% Discovery by DNS: every address of a name is a node. Made for Kubernetes' headless services.
%%%
%%% Asks for the name's A and AAAA records, with `inet_res', which asks the servers of /etc/resolv.conf itself and blocks no
%%% other process. The nodes are called `basename@address', so they must be started so: `--name myapp@$POD_IP'.
%%%
%%% A name that does not exist is an error, and so asked for again after a second: a service without a ready pod has none.
%%% If one kind of record cannot be had and the other is there, that one counts.
%%%
%%% Options: `query', the full name, since search domains are not tried; `basename', what stands before the `@';
%%% `resolver_options', for `inet_res:resolve/5', `[]' unless given.
%%%
%%%     ferrets_discovery:start_link(#{
%%%         name => disco, tables => [sessions], backend_module => ferrets_discovery_dns,
%%%         query => "myapp-headless.default.svc.cluster.local", basename => "myapp"
%%%     })
-module(ferrets_discovery_dns).

-behaviour(ferrets_discovery).

-export([init/1, get_nodes/1, check_options/1]).

-export_type([error/0]).

%% For each question of a name server, before it is asked again or given up.
-define(TIMEOUT_MS, 5_000).

-type state() :: #{query := string(), basename := string(), resolver_options := list()}.
%% For each kind of record what `inet_res' said, `nxdomain' and `timeout' most often.
-type error() :: {dns, #{query := string(), a := term(), aaaa := term()}}.

-spec check_options(map()) -> [ferrets_discovery_options:reason()].
check_options(Options) ->
    ferrets_discovery_options:check_backend(
        #{query => fun is_text/1, basename => fun is_basename/1, resolver_options => fun is_list/1},
        maps:merge(#{resolver_options => []}, Options)
    ).

-spec init(#{query := atom() | string() | binary(), basename := atom() | string() | binary(), _ => _}) -> state().
init(#{query := Query, basename := Basename} = Options) ->
    #{
        query => text(Query),
        basename => text(Basename),
        resolver_options => maps:get(resolver_options, Options, [])
    }.

-spec get_nodes(state()) -> {{ok, [node()]} | {error, error()}, state()}.
get_nodes(#{query := Query} = State) ->
    Result =
        case {resolve(a, State), resolve(aaaa, State)} of
            {{ok, A}, {ok, Aaaa}} -> {ok, names(A ++ Aaaa, State)};
            {{ok, [_ | _] = Addresses}, {error, _}} -> {ok, names(Addresses, State)};
            {{error, _}, {ok, [_ | _] = Addresses}} -> {ok, names(Addresses, State)};
            {A, Aaaa} -> {error, {dns, #{query => Query, a => A, aaaa => Aaaa}}}
        end,
    {Result, State}.

-spec resolve(a | aaaa, state()) -> {ok, [inet:ip_address()]} | {error, term()}.
resolve(Type, #{query := Query, resolver_options := Options}) ->
    case inet_res:resolve(Query, in, Type, Options, ?TIMEOUT_MS) of
        {ok, Message} ->
            Answers = [maps:from_list(inet_dns:rr(Record)) || Record <- inet_dns:msg(Message, anlist)],
            {ok, [Address || #{type := Of, data := Address} <- Answers, Of =:= Type]};
        %% With what else the server said.
        {error, {Reason, _Message}} ->
            {error, Reason};
        {error, Reason} ->
            {error, Reason}
    end.

-spec names([inet:ip_address()], state()) -> [node()].
names(Addresses, #{basename := Basename}) ->
    lists:usort([list_to_atom(Basename ++ "@" ++ inet:ntoa(Address)) || Address <- Addresses]).

-spec text(atom() | string() | binary()) -> string().
text(Text) when is_atom(Text) -> atom_to_list(Text);
text(Text) when is_binary(Text) -> binary_to_list(Text);
text(Text) -> Text.

-spec is_text(term()) -> boolean().
is_text(Text) when is_atom(Text) -> Text =/= undefined andalso Text =/= '';
is_text(Text) when is_binary(Text) -> Text =/= <<>>;
is_text(Text) -> Text =/= [] andalso io_lib:latin1_char_list(Text).

-spec is_basename(term()) -> boolean().
is_basename(Text) ->
    is_text(Text) andalso not lists:member($@, text(Text)) andalso length(text(Text)) < 200.
