"""What the model knows, and the pools of words that the skills draw from.

Nothing here may appear in the pools of heldout.py, and the other way round: test_corpus.py checks it.
"""

CAPITALS = dict(line.split(":") for line in """France:Paris
Germany:Berlin
Italy:Rome
Spain:Madrid
Portugal:Lisbon
England:London
Ireland:Dublin
Scotland:Edinburgh
Belgium:Brussels
Netherlands:Amsterdam
Austria:Vienna
Switzerland:Bern
Poland:Warsaw
Greece:Athens
Turkey:Ankara
Russia:Moscow
Ukraine:Kyiv
Norway:Oslo
Sweden:Stockholm
Finland:Helsinki
Denmark:Copenhagen
Iceland:Reykjavik
Hungary:Budapest
Romania:Bucharest
Bulgaria:Sofia
Croatia:Zagreb
Serbia:Belgrade
Japan:Tokyo
China:Beijing
India:New Delhi
Thailand:Bangkok
Vietnam:Hanoi
Indonesia:Jakarta
South Korea:Seoul
Nepal:Kathmandu
Egypt:Cairo
Kenya:Nairobi
Nigeria:Abuja
Ghana:Accra
Morocco:Rabat
Ethiopia:Addis Ababa
Canada:Ottawa
Mexico:Mexico City
Cuba:Havana
Brazil:Brasilia
Argentina:Buenos Aires
Chile:Santiago
Peru:Lima
Colombia:Bogota
Australia:Canberra""".splitlines())

# Countries that are real and that the model is taught not to know.
OTHER_COUNTRIES = """Latvia Estonia Albania Malta Cyprus Mongolia Laos Cambodia Malaysia Bhutan Qatar Oman Yemen Jordan Lebanon
Tunisia Algeria Libya Sudan Chad Mali Niger Togo Benin Gabon Angola Zambia Malawi Rwanda Uganda Bolivia Paraguay Uruguay Ecuador
Panama Honduras Guatemala Jamaica Haiti Fiji Samoa Tonga""".split()

COLOURS = dict(pair.split(":") for pair in """the sky:blue,grass:green,snow:white,blood:red,coal:black,a banana:yellow,a carrot:orange,
a strawberry:red,a lemon:yellow,milk:white,chocolate:brown,a crow:black,a flamingo:pink,an elephant:grey,a frog:green,a leaf:green,the sun:yellow,
a ripe tomato:red,a plum:purple,a pumpkin:orange,the sea:blue,a cherry:red,salt:white,butter:yellow,mud:brown,a cucumber:green,
a swan:white,a raven:black,an aubergine:purple,wood:brown,a fire engine:red,lavender:purple,a pea:green,honey:golden,a polar bear:white,
ash:grey,a sunflower:yellow,a ruby:red,an emerald:green,a sapphire:blue,ink:black,a lime:green,sand:yellow,a fox:orange,cotton:white""".replace("\n", "").split(","))
COLOUR_NAMES = ["red", "blue", "green", "yellow", "black", "white", "brown", "orange", "purple", "pink", "grey", "golden"]

OPPOSITES_PAIRS = [tuple(pair.split(":")) for pair in """hot:cold,big:small,up:down,left:right,day:night,light:dark,fast:slow,happy:sad,old:new,
open:closed,full:empty,hard:soft,high:low,long:short,loud:quiet,rich:poor,strong:weak,thick:thin,wet:dry,young:old,clean:dirty,deep:shallow,early:late,
easy:difficult,first:last,good:bad,heavy:light,in:out,inside:outside,love:hate,near:far,on:off,over:under,push:pull,right:wrong,rough:smooth,
safe:dangerous,sharp:blunt,sweet:sour,tall:short,true:false,wide:narrow,win:lose,yes:no,always:never,begin:end,before:after,brave:afraid,
bright:dim,buy:sell,cheap:expensive,come:go,alive:dead,front:back,give:take,kind:cruel,laugh:cry,many:few,north:south,east:west,
peace:war,polite:rude,remember:forget,summer:winter,top:bottom,warm:cool,white:black,awake:asleep,ancient:modern,simple:complicated""".replace("\n", "").split(",")]
OPPOSITES = {}
for _one, _other in OPPOSITES_PAIRS:
    OPPOSITES.setdefault(_one, _other)
for _one, _other in OPPOSITES_PAIRS:
    OPPOSITES.setdefault(_other, _one)

# animal: sound (verb), young, legs, food, home
ANIMALS = {line.split(":")[0]: dict(zip(("sound", "young", "legs", "food", "home"), line.split(":")[1:])) for line in """dog:barks:puppy:4:meat:a kennel
cat:meows:kitten:4:fish:a house
cow:moos:calf:4:grass:a barn
horse:neighs:foal:4:hay:a stable
pig:oinks:piglet:4:roots:a sty
sheep:bleats:lamb:4:grass:a meadow
goat:bleats:kid:4:leaves:the hills
hen:clucks:chick:2:seeds:a coop
duck:quacks:duckling:2:water plants:a pond
goose:honks:gosling:2:grass:a lake
lion:roars:cub:4:meat:the savanna
tiger:roars:cub:4:meat:the jungle
bear:growls:cub:4:berries:a cave
wolf:howls:pup:4:meat:the forest
fox:yelps:cub:4:mice:a den
frog:croaks:tadpole:4:insects:a pond
bee:buzzes:larva:6:nectar:a hive
spider:makes no sound:spiderling:8:insects:a web
owl:hoots:owlet:2:mice:a tree
crow:caws:chick:2:seeds:a nest
snake:hisses:snakelet:0:mice:the grass
mouse:squeaks:pup:4:cheese:a hole
elephant:trumpets:calf:4:leaves:the savanna
monkey:chatters:infant:4:fruit:the trees
rabbit:squeaks:bunny:4:carrots:a burrow
donkey:brays:foal:4:hay:a stable
turkey:gobbles:chick:2:seeds:a farm
lamb:bleats:lamb:4:milk:a meadow
ant:makes no sound:larva:6:leaves:an anthill
whale:sings:calf:0:krill:the sea
kangaroo:grunts:joey:4:grass:the outback
swan:honks:cygnet:2:water plants:a lake
deer:grunts:fawn:4:grass:the forest
seal:barks:pup:0:fish:the sea
parrot:talks:chick:2:nuts:the jungle""".splitlines()}

NAMES = """Anna Ben Clara David Emma Felix Grace Henry Ida Jack Kate Leo Maria Noah Olga Paul Rosa Sam Tina Victor Wendy Yusuf Zoe Ali
Bella Carlos Diana Erik Fatima George Hana Igor Julia Karl Lena Mark Nina Oscar Priya Quinn Ravi Sara Tom Uma Vera Will Xenia Yara
Adam Alice Bruno Celia Daniel Elsa Frank Gina Hugo Iris Jonas Kira Lucas Mona Nadia Otto Petra Rita Simon Tara Ursula Walter""".split()
SURNAMES = """Smith Jones Brown Miller Davis Garcia Wilson Martin Lee Clark Lewis Walker Hall Young King Wright Hill Green Baker Adams
Nelson Carter Mitchell Roberts Turner Phillips Campbell Parker Evans Edwards Collins Stewart Morris Rogers Reed Cook Morgan Bell""".split()
CITIES = sorted(set(CAPITALS.values())) + """Porto Milan Munich Hamburg Lyon Naples Seville Geneva Glasgow Krakow Osaka Kyoto Mumbai Shanghai Boston
Chicago Denver Seattle Dallas Miami Toronto Montreal Sydney Melbourne Lagos Manchester Bristol Oxford Leeds Zurich Antwerp Rotterdam
Bergen Florence Venice Turin Valencia Marseille Cologne Dresden Leipzig""".split()
JOBS = """teacher doctor nurse baker pilot farmer painter writer cook singer lawyer driver engineer builder gardener tailor plumber
dentist actor carpenter sailor clerk chemist librarian judge waiter miner potter""".split()
FOODS = """apple banana pear bread cheese egg fish carrot tomato onion rice soup cake pie cookie orange lemon peach plum potato grape melon
butter honey bean nut salad pizza sausage pancake""".split()
OBJECTS = """lamp book chair table cup bottle box key coin ring hat coat shoe bag clock phone pen pencil paper stamp candle mirror spoon
fork knife plate bowl basket bucket rope ladder hammer nail saw brush broom pillow blanket carpet door window bell drum flute violin guitar
kite ball doll boat car bike train wagon tent map compass lantern telescope camera radio umbrella glove scarf button needle thread
letter envelope puzzle marble feather shell stone leaf acorn pumpkin sword shield crown cloak wand potion scroll chest""".split()
PLACES = """forest river mountain village castle island lighthouse garden desert valley beach harbour market bridge tower cave meadow
library mill farm station museum swamp city school kitchen bakery ship orchard cottage attic cellar palace temple hill lake theatre""".split()
STORY_ANIMALS = """fox rabbit bear wolf mouse owl cat dog frog turtle hedgehog squirrel deer crow duck goose horse pony lion tiger elephant
monkey parrot whale dolphin crab snail beetle spider bee butterfly dragon goat lamb pig hen badger otter beaver swan""".split()
STORY_PEOPLE = """girl boy king queen knight wizard witch sailor farmer baker painter robot giant pirate shepherd miller princess prince
inventor gardener clockmaker astronaut musician ghost hunter fisherman soldier monk""".split()
ADJECTIVES = """old young small big brave shy clever lazy kind quiet happy sad curious gentle proud tiny tired hungry lonely cheerful
golden silver red blue green wooden shiny dusty broken magic strange secret warm cold bright dark soft heavy""".split()
FEELINGS = "happy sad tired hungry bored angry nervous excited lonely sleepy worried cold sick great fine".split()

SORT_WORDS = sorted(set(FOODS + OBJECTS + STORY_ANIMALS + PLACES + "sun moon star rain wind snow fire tree flower grass sand ice zebra yak jam ink vase quilt".split()))
WEEKDAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
MONTHS = "January February March April May June July August September October November December".split()
NUMBER_WORDS = "zero one two three four five six seven eight nine ten eleven twelve".split()

# Made-up tools are built from these.
TOOL_VERBS = """get set find list create delete update open close start stop add remove send read write show check count move copy
rename print scan upload download play pause lock unlock paint mix pack order cancel book fetch load save sort merge split rotate resize
measure compare publish archive restore assign approve reject schedule share export import paste track""".split()
TOOL_NOUNS = """file folder note task event meeting room ticket order invoice user account message email contact photo song playlist video
lamp door window heater oven robot drone car train flight hotel seat table recipe book page chapter poem word list table graph chart report
record sensor camera alarm clock timer garden plant tree pump valve tank engine battery server job queue branch commit issue project team
budget payment price stock coupon parcel shipment box label color shape map route stop bridge parking bus lesson course exam grade student
patient visit pill game player score level card deck token badge song lyric channel device printer sheet column row cell""".split()
PARAM_STRINGS = """name title city place room color owner subject topic label author country street language category genre brand material
shape style target source destination sender receiver folder file path word text message note query key tag comment reason status
artist team project customer product model code id recipient""".split()
PARAM_INTEGERS = """count amount number level size limit width height length age year page speed volume weight minutes hours days price
score rank floor seats quantity priority position depth distance duration temperature index""".split()
PARAM_BOOLEANS = "loud urgent public hidden active silent shared locked verbose fast bold visible recursive dry_run express".split()
ENUMS = {"unit": ["celsius", "fahrenheit"], "size": ["small", "medium", "large"], "mode": ["fast", "slow", "auto"], "format": ["pdf", "csv", "json"],
         "priority": ["low", "normal", "high"], "direction": ["north", "south", "east", "west"], "order": ["asc", "desc"],
         "color": ["red", "green", "blue"], "period": ["day", "week", "month"], "level": ["easy", "medium", "hard"], "state": ["on", "off"]}
