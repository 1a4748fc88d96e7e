package CardxTest::Matching;

# People, and their address books as the api worker writes them, for the tests
# of matching.

use strict;
use warnings;

use Exporter 'import';
use Test::More;

use CardxTest;

our @EXPORT = qw($t number person card book settled follows grants
    change_number);

our $t = CardxTest->new(settings => { sms_per_address => 100000 })->start;
my $next = 13900000000;

sub number { '+86' . ++$next }

# With a card, unless `bare`.
sub person {
    my (%more) = @_;
    my $me = $t->register(delete $more{phone} || number());
    $me->{token} = { token => $me->{access_token} };
    card($me) unless $more{bare};
    return $me;
}

sub card {
    my ($me, %more) = @_;
    return $me->{card_id} = $t->card($me->{token},
        name => { full => "I am $me->{phone}" },
        phones => { own => { number => $me->{phone} } }, %more);
}

sub contacts {
    my ($me, @entries) = @_;
    my $list = join ',', map { $_->[0] } @entries;
    $t->psql("insert into cardx.contacts (contact_id, user_id, layer)
        select c, '$me->{user_id}', '' from unnest('{$list}'::text[]) c
        on conflict do nothing");
}

# Writes entries: [contact, number, ...], in calls of at most 1 000; what each
# took, in ms.
sub book {
    my ($me, @entries) = @_;
    my $input = '';
    for my $n (0 .. $#entries) {
        contacts($me, @entries[$n .. ($n + 999 < $#entries ? $n + 999
            : $#entries)]) if $n % 1000 == 0;
        $input .= "\n" if $n && $n % 1000 == 0;
        $input .= join("\t", @{ $entries[$n] }) . "\n";
    }
    my $file = "$t->{var}/book.$$." . int rand 1e9;
    open my $out, '>', $file or die "$file: $!";
    print $out $input;
    close $out;
    my @ms = split /\n/, CardxTest::capture('sh', '-c', 'exec "$0" "$@" < '
        . $file, "$t->{build}/tools/match_try", "$t->{var}/conf/cardx.conf",
        $me->{user_id});
    unlink $file;
    die "match_try: @ms" if grep { !/^\d+$/ } @ms;
    return @ms;
}

sub settled {
    my ($seconds) = @_;
    return $t->wait_for(sub {
        $t->psql("select count(*) from cardx.outbox where effect = 'match'")
            == 0;
    }, $seconds || 30);
}

# The card that this entry follows, if a grant lets it.
sub follows {
    my ($contact) = @_;
    return $t->psql("select coalesce((select c.card_id from cardx.contacts c
        join cardx.grants g on g.card_id = c.card_id
            and g.holder_id = c.user_id
        where c.contact_id = '$contact' and g.via = 'match'), '')");
}

sub grants {
    my (@people) = @_;
    my $list = join ',', map { "'$_->{user_id}'" } @people;
    return $t->psql("select count(*) from cardx.grants
        where owner_id in ($list) or holder_id in ($list)");
}

# Another number for an account, by its own call.
sub change_number {
    my ($me, $phone) = @_;
    $t->forget_limits;
    my $r = $t->post('/v1/me/phone', { phone => $phone, method => 'sms-down' },
        $me->{token});
    my ($code) = $t->sms($phone) =~ /(\d{6})/;
    $r = $t->post("/v1/me/phone/$r->{json}{rebind_id}/verify",
        { code => $code, password => $me->{initial_password} }, $me->{token});
    is($r->{status}, 200, 'another number') or diag($r->{body});
    return $me->{phone} = $phone;
}

1;
