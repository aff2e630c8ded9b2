"""Products and the keys whose signatures their devices accept."""

from fastapi import APIRouter
from starlette.responses import Response

from frontend.manager_client import PAGE, ManagerClient, Refused, segment
from frontend.pages.context import Context, Fields, Signed
from frontend.rendering import see
from frontend.view_models import products
from frontend.view_models.products import ProductForm
from frontend.view_models.reading import children, text

router = APIRouter(prefix="/products")


@router.get("")
async def listing(context: Signed) -> Response:
    """Every product with its keys, and the form for another."""
    return await _show(context, ProductForm())


@router.post("")
async def add(context: Signed, given: Fields) -> Response:
    """Add a product, and its first key when one was pasted."""
    form = products.product_form(given)
    if form.errors:
        return await _show(context, form, 422)
    try:
        made = await context.manager.post(
            "/targettypes", [{"name": form.name, "key": form.key, "description": form.description}]
        )
    except Refused as error:
        return await _show(context, form, error.status, error.message)
    first = next(iter(children(made)), {})
    if form.public_key:
        try:
            await _add_key(context.manager, text(first, "id"), form.key_name, form.public_key)
        except Refused as error:
            problem = f"The product was added, its key was not: {error.message} Add the key to the product below."
            return await _show(context, ProductForm(), error.status, problem)
    return see("/products?notice=product")


@router.post("/{product_id}/keys")
async def add_key(context: Signed, product_id: str, given: Fields) -> Response:
    """Trust one more key."""
    public_key = given.get("public_key", "").strip()
    errors = products.key_errors(public_key or "-")
    try:
        if errors:
            raise Refused(422, errors["public_key"])
        await _add_key(context.manager, product_id, given.get("key_name", ""), public_key)
    except Refused as error:
        return await _show(context, ProductForm(), error.status, error.message)
    return see("/products?notice=key")


async def _add_key(manager: ManagerClient, product_id: str, name: str, public_key: str) -> None:
    body = {"name": name.strip() or "release key", "publicKeyPem": public_key + "\n"}
    await manager.post(f"/targettypes/{segment(product_id)}/signingkeys", body)


async def _show(context: Context, form: ProductForm, status: int = 200, problem: str = "") -> Response:
    kinds = await context.manager.get("/targettypes", limit=PAGE)
    page = []
    for kind in children(kinds, "content"):
        keys = await context.manager.get(f"/targettypes/{segment(text(kind, 'id'))}/signingkeys")
        page.append(products.product(kind, keys))
    return context.show("products.html", "products", status, page=page, form=form, problem=problem)
