%%% Networks for tests: hosts that are network namespaces on one bridge, and cuts between them by iptables.
%%%
%%% All of it lies in namespaces made here, the bridge included: the machine's own network is not touched. A cut drops
%%% packets, as a broken switch does: connections do not learn of it, other than by silence.
-module(ferrets_test_net).

-export([lack/0, start/1, stop/1, host_options/1, cut/3, heal/1, shell/2, address/1]).

-export_type([net/0]).

-opaque net() :: #{hub := string(), hosts := [string()]}.

%% What this machine lacks for it, or nothing.
-spec lack() -> none | string().
lack() ->
    case [Program || Program <- ["ip", "iptables"], os:find_executable(Program) =:= false] of
        [] ->
            Name = "ferrets" ++ os:getpid() ++ "try",
            case run("ip netns add " ++ Name ++ " && ip netns exec " ++ Name ++ " iptables -w -L INPUT -n") of
                {0, _} ->
                    {0, _} = run("ip netns del " ++ Name),
                    none;
                {_, Text} ->
                    _ = run("ip netns del " ++ Name),
                    "network namespaces cannot be made here, which needs root: " ++ Text
            end;
        Missing ->
            "these programs are not here: " ++ lists:join($\s, Missing)
    end.

%% So many hosts, all connected.
-spec start(pos_integer()) -> net().
start(Count) ->
    Base = "ferrets" ++ os:getpid(),
    Hub = Base ++ "hub",
    Hosts = [Base ++ "h" ++ integer_to_list(N) || N <- lists:seq(1, Count)],
    must([
        ["ip netns add ", Hub],
        ["ip -n ", Hub, " link add bridge type bridge"],
        ["ip -n ", Hub, " link set bridge up"]
    ]),
    [
        must([
            ["ip netns add ", Host],
            ["ip -n ", Host, " link set lo up"],
            ["ip -n ", Hub, " link add port", integer_to_list(N), " type veth peer name eth netns ", Host],
            ["ip -n ", Hub, " link set port", integer_to_list(N), " master bridge up"],
            ["ip -n ", Host, " addr add ", address(N), "/24 dev eth"],
            ["ip -n ", Host, " link set eth up"],
            ["ip netns exec ", Host, " iptables -w -P INPUT ACCEPT"]
        ])
     || {N, Host} <- lists:enumerate(Hosts)
    ],
    #{hub => Hub, hosts => Hosts}.

%% With all that runs there still: the name servers of nodes.
-spec stop(net()) -> ok.
stop(#{hub := Hub, hosts := Hosts}) ->
    _ = [run("for pid in $(ip netns pids " ++ Name ++ "); do kill -KILL $pid; done; ip netns del " ++ Name) || Name <- [Hub | Hosts]],
    ok.

-spec address(pos_integer()) -> string().
address(N) ->
    "10.77.0." ++ integer_to_list(N).

%% For `peer:start/1': a node on each host.
-spec host_options(net()) -> [peer:start_options()].
host_options(#{hosts := Hosts}) ->
    Ip = os:find_executable("ip"),
    Erl = os:find_executable("erl"),
    [
        #{name => "ferrets", host => address(N), exec => {Ip, ["netns", "exec", Host, Erl]}}
     || {N, Host} <- lists:enumerate(Hosts)
    ].

%% These hosts get nothing any more from those; `both' ways, or only `from' them.
-spec cut(both | from, [{pos_integer(), pos_integer()}], net()) -> ok.
cut(Way, Pairs, #{hosts := Hosts}) ->
    Directed = lists:usort(lists:append([directed(Way, Pair) || Pair <- Pairs])),
    _ = [
        must([["ip netns exec ", Host, " sh -c '", lists:join("; ", Drops), "'"]])
     || {N, Host} <- lists:enumerate(Hosts),
        [_ | _] = Drops <- [[["iptables -w -A INPUT -s ", address(From), " -j DROP"] || {To, From} <- Directed, To =:= N]]
    ],
    ok.

directed(both, {A, B}) -> [{A, B}, {B, A}];
directed(from, {A, B}) -> [{A, B}].

%% All are connected again.
-spec heal(net()) -> ok.
heal(#{hosts := Hosts}) ->
    must([["ip netns exec ", Host, " iptables -w -F INPUT"] || Host <- Hosts]).

%% Runs a command on a host.
-spec shell(pos_integer(), net()) -> fun((iodata()) -> {integer(), string()}).
shell(N, #{hosts := Hosts}) ->
    fun(Command) -> run(["ip netns exec ", lists:nth(N, Hosts), " sh -c '", Command, "'"]) end.

must(Commands) ->
    lists:foreach(
        fun(Command) ->
            case run(Command) of
                {0, _} -> ok;
                {Code, Text} -> error({Code, lists:flatten(Command), Text})
            end
        end,
        Commands
    ).

run(Command) ->
    Port = open_port({spawn_executable, "/bin/sh"}, [
        {args, ["-c", unicode:characters_to_list([Command, " 2>&1"])]}, exit_status, hide
    ]),
    collect(Port, []).

collect(Port, Text) ->
    receive
        {Port, {data, Data}} -> collect(Port, Text ++ Data);
        {Port, {exit_status, Code}} -> {Code, Text}
    end.
